"""An experiment of a config whose records are noise: no files, no decoding."""

from collections.abc import Callable
from typing import Any

import numpy as np

from avjax.config.build import build
from avjax.data import pipeline
from avjax.data.clip_reading import read_clips
from avjax.data.media.media_file import Info
from avjax.data.source import Source
from avjax.training import experiment, settings

SECONDS = 20.0  # Length of a record.


def source(records: int, fps: float, side: int, sample_rate: int) -> Source:
    """Records of random frames and samples.

    Args:
      records: number of them.
      fps: frames per second.
      side: pixels of the height and the width.
      sample_rate: in Hz.
    """
    info = Info(0.0, SECONDS, 0.0, SECONDS, fps, side, side, sample_rate)

    def read(row, sampler, rngs):
        frames = lambda start: rngs[0].integers(
            0, 256, (sampler.num_frames, side, side, 3), np.uint8
        )
        audio = lambda start: rngs[0].integers(-20_000, 20_000, sampler.num_samples, np.int16)
        return read_clips(sampler, info, rngs[0], frames, audio)

    names = tuple({"path": f"/noise/{i}", "label": i % 4} for i in range(records))
    return Source("noise", names, tuple("abcd"), read)


def make(config: dict, records: Source) -> experiment.Experiment:
    """The Experiment of a config with other records and without evaluations."""
    method, args = experiment.build_method(config)
    transform = build(config.get("device_transform"), "config.device_transform")
    data: dict[str, dict[str, Any]] = {}
    for name in ("train", "refresh"):
        parts = {k: v for k, v in config["data"].get(name, {}).items() if k != "source"}
        if parts:
            key = f"data.{name}"
            data[key] = {k: build(v, f"config.{key}.{k}") for k, v in parts.items()}
            data[key]["source"] = records
    return experiment.Experiment(
        config, settings.from_config(config), experiment.with_device_transform(method, transform),
        args, transform, experiment.build_optimizer(config),
        data, {}, config["sharding_rules"], {},
    )  # fmt: skip


def first_batch(made: experiment.Experiment, **options: Callable) -> dict[str, np.ndarray]:
    """The first training batch of an experiment."""
    data = experiment.training_data(made) | options
    return next(pipeline.train_batches(**data, stop=1, workers=0))
