"""Protocol: trains classifiers on the train records of a split and evaluates them on the others.

The training is the run, or the chain of runs, of a config: fine-tuning in stages as in
configs/finetune_ucf101.py, or probes of layers as in configs/probe_kinetics_layers.py.
"""

import functools
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from avjax.config import app, errors, overrides
from avjax.config.build import substitute
from avjax.data.source import Source
from avjax.downstream import data, recipe
from avjax.downstream.data import Split
from avjax.downstream.model import Model
from avjax.inference import preprocessing
from avjax.runtime import metrics_writer
from avjax.training import dry_run, stages
from avjax.training.sources import find_datasets
from avjax.types import NotApplicable

HEADLINE = "video@1"
HOST_TRANSFORM = "avjax.data.transforms.video.apply_on_host"
SIZES = {  # Arguments of a clip sampler.
    "video": ("num_frames", "fps", "short_side"),
    "audio": ("audio_seconds", "sample_rate", "channels"),
}


def make(
    config: str, settings: Sequence[str] = (), clips: str = "config", modality: str = "video"
) -> Callable[[Model, Split], dict[str, Any]]:
    """Accuracies of classifiers that are trained on the encoder of a model.

    The config gives method, optimizer, stages, augmentation and evaluation; encoder and front end
    are those of the model, and data and number of classes those of the split.  A trained model is
    the start of the first stage (config.init_from); any other row starts from random weights
    ("scratch").  The runs are in the folder of the split and resume by themselves.

    Args:
      config: CONFIG[:ARGUMENT], as of `python -m avjax.main --config`.
      settings: "KEY=VALUE" of the config, e.g. ("steps=400", "batch_size=32").
      clips: "config" for the length, rate and size of the config's clips, "run" for those of the
        model's own evaluation.
      modality: "video" or "audio", whose encoder is trained.

    Returns:
      A protocol (model, split) -> {metric: value}, with the values and arrays of the config's
      evaluation after the last step.  "best/video@1" is the highest of all evaluations but that
      of step 0; it is selected on test records, so report it for comparison only.
    """
    if clips not in ("config", "run"):
        raise ValueError(f"clips={clips!r}: use 'config' or 'run'")
    if modality not in SIZES:
        raise ValueError(f"modality={modality!r}: use 'video' or 'audio'")
    if isinstance(settings, str) or any("=" not in text for text in settings):
        raise ValueError(f"settings={settings!r}: give a tuple of 'KEY=VALUE'")

    def evaluate(model: Model, split: Split) -> dict[str, Any]:
        tower = tower_of(model, modality)
        train = data.open_source(split, "train", model)
        classes = num_classes(train, data.open_source(split, "test", model))
        c: Any = app.load_config_file("config", config)[1]
        with c.unlocked(), c.ignore_type():
            if clips == "run":
                use_clips_of_run(c, model, modality)
            use_data(c, split, model.config)
            c.train_records, c.method.num_classes = len(train), classes
            c.method.model = ConfigDict(tower)
            if model.kind == "trained":
                c.init_from = os.path.abspath(model.folder)
        overrides.apply(c, [(key, value) for key, _, value in (t.partition("=") for t in settings)])
        folder = str(Path(split.folder) / run_key(substitute(c.to_dict(), ""), model))
        use_batches(c, split)
        last = train_chain(substitute(c.to_dict(), folder), folder)
        return read_results(last, next(iter(c.evals))) | {"train/records": len(train)}

    return evaluate


def tower_of(model: Model, modality: str) -> dict[str, Any]:
    """Returns the spec of towers with the front end and the encoder of a modality, without a head.

    Args:
      model: whose config names them.
      modality: "video" or "audio".

    Raises:
      NotApplicable: the model has no such encoder.
    """
    spec = model.config["method"].get("model")
    encoders = spec.get("encoders", {}) if isinstance(spec, dict) else {}
    if modality not in encoders or f"encoders_{modality}" not in model.params:
        raise NotApplicable(f"its trained parameters have no {modality} encoder by itself")
    head = dict(fn="avjax.nets.layers.mlp.Mlp", widths=())
    parts = dict(frontends=spec["frontends"][modality], encoders=encoders[modality], heads=head)
    towers = dict(fn="avjax.nets.towers.Towers")
    return towers | {kind: {modality: part} for kind, part in parts.items()}


def num_classes(*sources: Source) -> int:
    """Returns the number of classes of sources: of their names, or of the labels if these are more.

    Raises:
      NotApplicable: there are fewer than two.
    """
    highest = max(record.get("label", -1) for source in sources for record in source.records)
    count = max(highest + 1, *(len(source.classes) for source in sources))
    if highest < 0 or count < 2:
        raise NotApplicable(f"a classifier needs two classes, and {sources[0].name} has {count}")
    return count


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


def run_key(config: dict[str, Any], model: Model) -> str:
    """Returns a hash of a training config and of the weights that it starts from.

    Args:
      config: a plain dict, without the number of workers and the size of evaluation batches.
      model: the weights.
    """
    text = json.dumps([config, model.key], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def train_chain(config: dict[str, Any], folder: str) -> str:
    """Trains a config with or without stages, or resumes it; returns the folder of the last stage.

    Args:
      config: a plain dict.
      folder: of the run.

    Raises:
      ValueError: the config does not fit the data or the model.
    """
    chain = stages.expand(config, folder)
    specs, earlier = config.get("stages") or {}, {}
    runs = stages.build(chain, specs)
    for stage, experiment in runs:
        with errors.stage_keys(specs, stage):
            dry_run.validate(experiment, stage, earlier)
    stages.run(runs)
    return chain[-1][0]


def read_results(folder: str, name: str) -> dict[str, Any]:
    """Returns the metrics and arrays of the last evaluation of a run, and its best video@1.

    Args:
      folder: of the run.
      name: of the evaluation.

    Raises:
      NotApplicable: nothing could be evaluated.
    """
    prefix, found = f"eval/{name}/", {}
    for step, metric, value in metrics_writer.read_rows(folder):
        if metric.startswith(prefix):
            found.setdefault(step, {})[metric.removeprefix(prefix)] = value
    last = found.get(max(found, default=0), {})
    out = {metric: value for metric, value in last.items() if not metric.startswith("test/")}
    if not out:
        raise NotApplicable("no test record could be evaluated")
    every = [values[HEADLINE] for step, values in found.items() if step and HEADLINE in values]
    best = {f"best/{HEADLINE}": max(every)} if len(every) > 1 else {}
    with np.load(Path(folder) / "evals" / f"{name}.npz", allow_pickle=False) as file:
        arrays = {key.removeprefix("test/"): file[key] for key in file}
    return out | best | arrays | {"test/records": last["test/records"]}
