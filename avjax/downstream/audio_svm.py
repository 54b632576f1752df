"""Protocol: sound classification by the layers of a frozen audio encoder.

Morgado, Vasconcelos, Misra, CVPR 2021, https://arxiv.org/abs/2004.12943, as in its published
program: several windows per recording, classifiers on each layer, scores averaged over windows.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from avjax.data.source import Source
from avjax.downstream import audio_sides, feature_cache, recipe
from avjax.downstream.audio_sides import Extracted
from avjax.downstream.data import Split
from avjax.downstream.model import Model
from avjax.downstream.recipe import Recipe
from avjax.nets import intermediates
from avjax.types import NotApplicable

TRANSFORMS = "avjax.data.transforms.audio"


def make(
    classifiers: dict[str, Callable[..., dict[str, Any]]],
    train_windows: int = 10,
    test_windows: int = 10,
    speed: tuple[float, float] | None = (3 / 4, 4 / 3),
    gain: tuple[float, float] | None = (0.9, 1.1),
    layers: Sequence[str] | None = None,
    folds: bool = False,
) -> Callable[[Model, Split], dict[str, Any]]:
    """Classification of recordings by windows of the length that the net was trained on.

    Windows of train lie at random times, windows of test are evenly spaced.

    Args:
      classifiers: {name: classifier}, e.g. `avjax.evals.svm`; the metrics of the name "" have no
        name in front.
      train_windows, test_windows: windows per recording.
      speed: range of the factor of speed and pitch of train windows; None for no change.
      gain: range of the factor of their volume; None for no change.
      layers: layers of the audio encoder, see `avjax.nets.intermediates`; None for all stages.  The
        features of the encoder come last, as "audio".
      folds: whether the splits are folds of the same records, which then share the cache.

    Returns:
      A protocol (model, split) -> {metric: value or array}.
    """

    def evaluate(model: Model, split: Split) -> dict[str, Any]:
        sampler = _sampler(model)
        wanted = layer_names(model, layers)
        recipes = {
            "train": train_recipe(model, sampler, train_windows, speed, gain),
            "test": test_recipe(model, sampler, test_windows),
        }

        def extract(role: str, source: Source) -> Extracted:
            found = feature_cache.clip_features(
                model, source, recipes[role], split.features, {"audio": wanted} if wanted else None,
                split.batch_size, split.workers,
            )  # fmt: skip
            values = found.modalities["audio"]
            return Extracted(
                {name: values[name] for name in wanted} | {"audio": values["features"]},
                np.asarray(values["mask"]),
            )

        sides = audio_sides.extract_sides(audio_sides.open_sides(split, model), extract, folds)
        return audio_sides.apply_classifiers(classifiers, sides)

    return evaluate


def layer_names(model: Model, layers: Sequence[str] | None) -> list[str]:
    """Returns the names of the layers to classify: all stages of the audio encoder unless given.

    Args:
      model: the nets.
      layers: names, or None.

    Raises:
      NotApplicable: the model has no audio encoder by itself.
      ValueError: the encoder has no such layer; the message lists those that exist.
    """
    if f"{intermediates.PREFIX}audio" not in model.params:
        raise NotApplicable("the run's nets have no audio encoder of their own")
    if layers is not None:
        return [*intermediates.resolve_layers(model.params, {"audio": layers})["audio"]]
    return [*intermediates.stage_paths(model.params)["audio"]]


def train_recipe(
    model: Model,
    sampler: dict[str, Any],
    count: int,
    speed: tuple[float, float] | None,
    gain: tuple[float, float] | None,
) -> Recipe:
    """Returns random windows with changes of speed and volume, the same in every run.

    Args:
      model: the nets.
      sampler: arguments of the windows.
      count: windows per recording.
      speed, gain: as of `make`.
    """
    seconds, transforms = sampler["audio_seconds"], []
    if speed is not None:
        size = round(seconds * sampler["sample_rate"])
        transforms.append(dict(fn=f"{TRANSFORMS}.random_speed", num_samples=size, low=speed[0],
                               high=speed[1]))  # fmt: skip
        # Longer by a sample, for what rounding takes.
        seconds = seconds / min(speed[0], 1.0) + 1 / sampler["sample_rate"]
    if gain is not None:
        transforms.append(dict(fn=f"{TRANSFORMS}.random_gain", low=gain[0], high=gain[1]))
    own = recipe.recipe_of(model.config, "audio", trust=model.trust)
    fn = dict(fn="avjax.data.clip_sampling.random", max_offset_seconds=0.0)
    windows = {**sampler, **fn, "audio_seconds": seconds, "num_clips": count}
    return Recipe(windows, [*transforms, *own.transforms], "audio")


def test_recipe(model: Model, sampler: dict[str, Any], count: int) -> Recipe:
    """Returns evenly spaced windows.

    Args:
      model: the nets.
      sampler: arguments of the windows.
      count: windows per recording.
    """
    own = recipe.recipe_of(model.config, "audio", trust=model.trust)
    windows = {**sampler, "fn": "avjax.data.clip_sampling.uniform", "num_clips": count}
    return Recipe(windows, own.transforms, "audio")


def _sampler(model: Model) -> dict[str, Any]:
    """Arguments of audio windows as those of the run's evaluation."""
    own = recipe.recipe_of(model.config, "audio", trust=model.trust)
    built = recipe.build_recipe(own, model.trust).clip_sampler
    return dict(
        num_frames=0,
        fps=built.fps,
        audio_seconds=built.num_samples / built.sample_rate,
        sample_rate=built.sample_rate,
        channels=built.channels,
    )
