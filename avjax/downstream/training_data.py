"""The data sets of a training config: the records of a split, and clips of other sizes."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from avjax.downstream import data, recipe
from avjax.downstream.data import Split
from avjax.downstream.model import Model
from avjax.inference import preprocessing
from avjax.training.sources import find_datasets

HOST_TRANSFORM = "avjax.data.transforms.video.apply_on_host"
SIZES = {  # Arguments of a clip sampler.
    "video": ("num_frames", "fps", "short_side"),
    "audio": ("audio_seconds", "sample_rate", "channels"),
}


def use_data(c: Any, split: Split, config: dict[str, Any]) -> None:
    """Puts the records of a split into the data sets of a training config.

    Args:
      c: the training config, a ConfigDict.
      split: the split.
      config: of the model's run, for data of its own evaluation.
    """
    given = {name: value for name, value in split.data.items() if value is not None}
    for key, node in datasets(c):
        role = "test" if key.startswith("evals.") else "train"
        own = None if given else data.own_dataset(role, config)[1]["source"]
        node.source = own or dict(fn="avjax.data.dataset", role=role, **given)
    c.data = {key: part for key, part in c.data.items() if isinstance(part, ConfigDict)}


def use_batches(c: Any, split: Split) -> None:
    """Gives a training config the number of workers, and its evaluation the size of batches.

    Args:
      c: the training config, a ConfigDict.
      split: the split.
    """
    devices = jax.device_count()
    with c.unlocked(), c.ignore_type():
        for key, node in datasets(c):
            if split.workers is not None:
                node.workers = split.workers
            if key.startswith("evals."):  # At least the clips of a record.
                size = max(split.batch_size, node.clip_sampler.get("num_clips", 1))
                c.evals[key.split(".")[1]].batch_size = -(-size // devices) * devices


def datasets(c: Any) -> list[tuple[str, Any]]:
    """Returns (dotted key, part of `c`) of each data set of a training config."""
    keys = [key for key, _ in find_datasets(c.to_dict())]
    return [
        (key, functools.reduce(lambda node, name: node[name], key.split("."), c)) for key in keys
    ]


def use_clips_of_run(c: Any, model: Model, modality: str) -> None:
    """Gives the clips of a training config the length, rate and size of those of a run.

    Args:
      c: the training config, a ConfigDict.
      model: the run.
      modality: "video" or "audio".

    Raises:
      ValueError: the size of the run's frames is not known, or its config names parts that are not
        trusted.
    """
    _, own = preprocessing.evaluation_dataset(model.config)
    recipe.build_recipe(recipe.recipe_of(model.config, trust=model.trust), model.trust)
    sizes = [part["frame_size"] for part in own["transforms"] if "frame_size" in part]
    if modality == "video" and not sizes:
        raise ValueError("clips='run': the transforms of the run's evaluation have no frame_size")
    on_host = [part for part in own["transforms"] if part.get("fn") == HOST_TRANSFORM]
    for _, node in datasets(c):
        node.clip_sampler.update(
            {
                name: own["clip_sampler"][name]
                for name in SIZES[modality]
                if name in own["clip_sampler"]
            }
        )
        parts = [dict(part) for part in node.transforms]
        kept = [part | ({"frame_size": sizes[0]} if "frame_size" in part else {}) for part in parts]
        node.transforms = (*(p for p in kept if p.get("fn") != HOST_TRANSFORM), *on_host)
    c.device_transform = model.config.get("device_transform")


def use_test_sampler(c: Any, sampler: str | None, changes: Mapping[str, Any]) -> None:
    """Gives the first evaluation of a training config another clip sampler.

    Args:
      c: the training config, a ConfigDict.
      sampler, changes: name and arguments, see `recipe.with_sampler`.
    """
    data_set = c.evals[next(iter(c.evals))].data
    spec = data_set.clip_sampler.to_dict()
    data_set.clip_sampler = ConfigDict(recipe.with_sampler(spec, sampler, changes))
