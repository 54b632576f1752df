"""Protocol: can the nets tell a clip's own audio from that of another video or time?

Korbar, Tran, Torresani, NeurIPS 2018, https://arxiv.org/abs/1807.00230.
"""

import logging
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from avjax.data.example import load_example
from avjax.data.source import Source
from avjax.downstream import data, embedding, recipe
from avjax.downstream.data import Split
from avjax.downstream.model import Model
from avjax.inference.preprocessing import Preprocessing
from avjax.types import Evaluator, NotApplicable, TrainState

SHIFTED = "avjax.data.clip_sampling.with_shifted_audio"
UNIFORM = "avjax.data.clip_sampling.uniform"
KEPT = ("num_frames", "fps", "audio_seconds", "sample_rate", "short_side", "num_clips", "channels")

NUM_PROBED = 8  # Records that are opened to see whether files are long enough.

log = logging.getLogger(__name__)


def make(
    evaluator: Callable[..., Evaluator],
    min_gap_seconds: float = 0.5,
    overlap_fraction: float | None = 0.5,
    num_clips: int = 1,
) -> Callable[[Model, Split], dict[str, Any]]:
    """Accuracy and AUROC of synchronization, of easy, hard and super-hard negatives.

    Where no file is long enough for two audio windows, only easy negatives are scored.

    Args:
      evaluator: `avjax.evals.sync.make`.
      min_gap_seconds: between a clip's audio and that of a hard negative; 0.5 in AVTS.
      overlap_fraction: shift of super-hard negatives as a fraction of a clip's audio; None leaves
        them out.
      num_clips: clips per record.

    Returns:
      A protocol (model, split) -> {"easy/accuracy", "easy/auroc", "hard/accuracy", ...}.
    """

    def evaluate(model: Model, split: Split) -> dict[str, Any]:
        changes, trust = dict(num_clips=num_clips), model.trust
        easy = recipe.recipe_of(model.config, changes=changes, trust=trust, sampler=UNIFORM)
        if not (easy.clip_sampler.get("num_frames") and easy.clip_sampler.get("audio_seconds")):
            raise NotApplicable("the run's clips lack video or audio")
        source = data.open_source(split, "test", model)
        embed = embedding.make_embed(model)
        shifted = _with_shifted_audio(easy, min_gap_seconds, overlap_fraction)
        built = recipe.build_recipe(shifted, trust)
        if not _readable(source, built):
            log.warning("%s: files too short for shifted audio: easy negatives only", source.name)
            built = recipe.build_recipe(easy, trust)
        data_set = dict(source=source, **built._asdict(), workers=split.workers)
        size = max(split.batch_size, 2 * num_clips) // num_clips * num_clips
        found = evaluator(data_set, batch_size=size)(_without_state(embed), _no_state())
        scores = {name: value for name, value in found.items() if not name.startswith("test/")}
        if not scores:
            raise NotApplicable("no pair of video and audio could be scored")
        return scores | {"test/records": found["test/records"]}

    return evaluate


def _readable(source: Source, built: Preprocessing) -> bool:
    """Whether clips of one of some evenly spaced records can be read."""
    for row in sorted({*np.linspace(0, len(source) - 1, NUM_PROBED).astype(int).tolist()}):
        rngs = [np.random.default_rng([row, clip]) for clip in range(built.clip_sampler.num_clips)]
        options = rngs, True, {}, lambda row: None
        if load_example(source, row, *built, *options)[0] is not None:
            return True
    return False


def _with_shifted_audio(easy, min_gap_seconds, overlap_fraction):
    """Returns a recipe whose clips also have audio of other times."""
    kept = {name: value for name, value in easy.clip_sampler.items() if name in KEPT}
    seconds = kept["audio_seconds"]
    overlap = None if overlap_fraction is None else overlap_fraction * seconds
    limits = (seconds + min_gap_seconds, None)
    sampler = dict(kept, fn=SHIFTED, min_max_shift=limits, overlap_shift=overlap)
    return easy._replace(clip_sampler=sampler)


def _without_state(embed):
    """Returns `embed` as evaluators call it: the model has its weights already."""
    return lambda ts, batch: embed(batch)


def _no_state() -> TrainState:
    return TrainState(jnp.zeros((), jnp.int32), jax.random.key(0), {}, (), {})
