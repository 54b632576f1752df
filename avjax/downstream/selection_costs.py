"""What it costs to classify a long video: the FLOPs of the nets that see its clips."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from avjax.data import example
from avjax.downstream import clip_descriptors, model, recipe
from avjax.training import cost
from avjax.types import Method, TrainState


class Costs(NamedTuple):
    """FLOPs.

    Attributes:
      teacher, preview: of a clip.
      skim: of the skimming net, of a video.
    """

    teacher: float
    preview: float
    skim: float

    def gflops(self, **times: Any) -> float:
        """Returns the mean 10^9 FLOPs of a video.

        Args:
          times: how often each net is applied, a number or int [V].
        """
        return float(sum(getattr(self, net) * np.mean(count) for net, count in times.items())) / 1e9


def measure(
    skimmer: Method, ts: TrainState, data: dict[str, Any], teacher: str, preview: str,
    clips: Mapping[str, Any], trust: Sequence[str] = (),
) -> Costs:  # fmt: skip
    """Returns the FLOPs of each net, by the compiler; Args: as of `skimming_curve.make`."""
    video = example.padding_example(data["clip_sampler"], tuple(data["transforms"]), data["source"])
    skim = cost.call_flops(skimmer.embed, ts.params, ts.state, video)
    teacher_clip, preview_clip = (clip_flops(run, clips, trust) for run in (teacher, preview))
    return Costs(teacher_clip, preview_clip, skim)


def clip_flops(run: str, clips: Mapping[str, Any], trust: Sequence[str] = ()) -> float:
    """Returns the FLOPs of a clip in the nets of a run.

    Args:
      run: its folder.
      clips, trust: as of `clip_descriptors.make`.
    """
    nets = model.open_run(run, trust=trust)
    how = recipe.recipe_of(nets.config, None, clips, trust, clip_descriptors.SAMPLER)
    built = recipe.build_recipe(how, nets.trust)
    clip = example.padding_example(built.clip_sampler, built.transforms)
    embed = model.method_for(nets, nets.method, clip).embed
    return cost.call_flops(embed, jax.device_get(nets.params), jax.device_get(nets.state), clip)
