"""An experiment without its data: the shapes of its batches follow from the config."""

import json
from typing import Any

import jax
import numpy as np

from avjax.config import overrides, tree
from avjax.data import example
from avjax.data.source import Source
from avjax.training import experiment as experiments, sources
from avjax.training.experiment import Experiment

# Videos for training, as the papers and the official lists say.
KNOWN_RECORDS = {
    "kinetics": 232_067, "audioset": 1_784_108, "ucf101": 9_537, "hmdb51": 3_570, "synthetic": 600,
}  # fmt: skip
ASSUMED_RECORDS = KNOWN_RECORDS["kinetics"]


def fill_unset_data(config) -> None:
    """Sets the keys of config.data that are required and not set, such as the folder of the data.

    Args:
      config: a ConfigDict.
    """
    while (key := tree.first_unset_key(config)) and key.startswith("data."):
        overrides.apply(config, [(key, "not-opened")])


def number_of_records(config: dict) -> tuple[int, str]:
    """Returns (records of the training source, where the number is from).

    Args:
      config: a plain config.
    """
    spec = config["data"]["train"]["source"]
    while isinstance(spec.get("source"), dict):
        spec = spec["source"]
    if "num_videos" in spec:
        return spec["num_videos"], "of the config"
    name = str(spec.get("source") or spec.get("fn", "").rsplit(".", 1)[-1])
    if name in KNOWN_RECORDS:
        return KNOWN_RECORDS[name], f"of {name}"
    return ASSUMED_RECORDS, "assumed, those of Kinetics-400"


def build(config: dict, records: int) -> Experiment:
    """Returns the parts of a run whose data sets have `records` records and are not opened.

    Args:
      config: a plain config; its evaluations are left out.
      records: of each data set.

    Raises:
      ValueError: a part cannot be built; the message starts with its key.
    """
    config = {**config, "evals": {}}
    absent = Source("data that are not opened", ({"path": "", "label": -1},) * records)
    opened = {
        json.dumps(spec["source"], sort_keys=True): absent
        for _, spec in sources.find_datasets(config)
        if isinstance(spec["source"], dict)
    }
    return experiments.build(config, opened)


def batch_shapes(experiment: Experiment) -> dict[str, Any]:
    """Returns the shapes of the training clips of one record, {name: [num_clips, ...]}.

    Raises:
      ValueError: they do not follow from the config.
    """
    data = experiment.data["data.train"]
    clips = example.padding_example(data["clip_sampler"], data["transforms"])
    if clips.keys() <= {"index", "label", "has_audio", "mask"}:
        raise ValueError(
            "config.data.train reads stored vectors, whose widths only the files say: plan a "
            "config that trains on clips, or run this one with --dry_run"
        )
    return {
        name: jax.ShapeDtypeStruct(np.shape(value), np.asarray(value).dtype)
        for name, value in clips.items()
    }
