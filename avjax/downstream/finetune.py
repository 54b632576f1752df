"""Protocol: trains classifiers on the train records of a split and evaluates them on the others.

The training is the run, or the chain of runs, of a config: fine-tuning in stages as in
configs/finetune_ucf101.py, or probes of layers as in configs/probe_kinetics_layers.py.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from avjax.config import app, errors, overrides
from avjax.config.build import substitute
from avjax.data.source import Source
from avjax.downstream import data, training_data
from avjax.downstream.data import Split
from avjax.downstream.model import Model
from avjax.runtime import metrics_writer
from avjax.training import dry_run, stages
from avjax.types import NotApplicable

HEADLINE = "video@1"


def make(
    config: str,
    settings: Sequence[str] = (),
    clips: str = "config",
    modality: str = "video",
    test_sampler: str | None = None,
    test_clips: Mapping[str, Any] | None = None,
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
      test_sampler: name of a clip sampler for the config's first evaluation, e.g.
        "avjax.data.clip_sampling.sliding"; None for that of the config.
      test_clips: arguments of it to change, e.g. dict(stride_seconds=0.25).

    Returns:
      A protocol (model, split) -> {metric: value}, with the values and arrays of the config's
      first evaluation after the last step, and the values of further ones, such as clip@1 on
      random clips.  "best/video@1" is the highest of all evaluations but that of step 0; it is
      selected on test records, so report it for comparison only.
    """
    if clips not in ("config", "run"):
        raise ValueError(f"clips={clips!r}: use 'config' or 'run'")
    if modality not in training_data.SIZES:
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
                training_data.use_clips_of_run(c, model, modality)
            training_data.use_test_sampler(c, test_sampler, test_clips or {})
            training_data.use_data(c, split, model.config)
            c.train_records, c.method.num_classes = len(train), classes
            c.method.model = ConfigDict(tower)
            if model.kind == "trained":
                c.init_from = os.path.abspath(model.folder)
        overrides.apply(c, [(key, value) for key, _, value in (t.partition("=") for t in settings)])
        folder = str(Path(split.folder) / run_key(substitute(c.to_dict(), ""), model))
        training_data.use_batches(c, split)
        last = train_chain(substitute(c.to_dict(), folder), folder)
        return read_results(last, [*c.evals]) | {"train/records": len(train)}

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


def read_results(folder: str, names: Sequence[str]) -> dict[str, Any]:
    """Returns the metrics and arrays of the last evaluations of a run, and its best video@1.

    Args:
      folder: of the run.
      names: of the evaluations.  Metrics of later ones replace those of earlier ones; arrays,
        numbers of records and the best video@1 are those of the first.

    Raises:
      NotApplicable: nothing could be evaluated.
    """
    found = [_values(folder, name) for name in names]
    last = [values.get(max(values, default=0), {}) for values in found]
    out = {
        metric: value
        for values in last
        for metric, value in values.items()
        if not metric.startswith("test/")
    }
    if not out:
        raise NotApplicable("no test record could be evaluated")
    every = [values[HEADLINE] for step, values in found[0].items() if step and HEADLINE in values]
    best = {f"best/{HEADLINE}": max(every)} if len(every) > 1 else {}
    with np.load(Path(folder) / "evals" / f"{names[0]}.npz", allow_pickle=False) as file:
        arrays = {key.removeprefix("test/"): file[key] for key in file}
    return out | best | arrays | {"test/records": last[0]["test/records"]}


def _values(folder, name):
    """{step: {metric: value}} of an evaluation of a run."""
    prefix, found = f"eval/{name}/", {}
    for step, metric, value in metrics_writer.read_rows(folder):
        if metric.startswith(prefix):
            found.setdefault(step, {})[metric.removeprefix(prefix)] = value
    return found
