"""Validates the values that the loop reads: numbers, learning rates, clip lengths."""

from typing import Any, NamedTuple, cast

import jax
import numpy as np

from avjax.config import ranges
from avjax.config.build import build
from avjax.data import clip_sampling, clip_times
from avjax.data.media import video as media_video
from avjax.data.source import Source
from avjax.runtime import watchdog
from avjax.training import config_checks, nonfinite
from avjax.training.config_checks import MAX_LEARNING_RATE

NUM_FILES_CHECKED = 8  # Files whose duration is compared with that of a clip.


class Settings(NamedTuple):
    """The integers of a config that a run reads.

    Attributes:
      seed: of the run.
      batch_size: clips per global batch.
      steps: training steps.
      log_every, save_every: steps between logged metrics, and between checkpoints.
      max_to_keep: number of latest checkpoints that are kept.
      refresh_every: steps between refreshes of the method; 0 for one before the first step only.
      init_examples: clips that a new state is initialized with.
      watchdog: the shortest deadline of a step in seconds, see `avjax.runtime.watchdog`; 0: none.
      max_nonfinite_steps: number of steps in a row without finite numbers at which the run stops.
      profile: whether start-up and a few steps are profiled, see `avjax.runtime.profiling`.
      async_checkpointing: whether training continues while a checkpoint is written.
      fsdp: devices along the second axis of the mesh, see `avjax.runtime.sharding`.
    """

    seed: int
    batch_size: int
    steps: int
    log_every: int
    save_every: int
    max_to_keep: int
    refresh_every: int
    init_examples: int
    watchdog: float = watchdog.MINIMUM_SECONDS
    max_nonfinite_steps: int = nonfinite.MAX_STEPS
    profile: bool = False
    async_checkpointing: bool = True
    fsdp: int = 1


def from_config(config: dict) -> Settings:
    """Returns the settings of a config; raises the errors of `config_checks.check_values`."""
    config_checks.check_values(config)
    check_devices(config)
    return Settings(**{key: config[key] for key in Settings._fields if key in config})


def check_devices(config: dict) -> None:
    """Raises ValueError if the batch cannot be divided among the devices."""
    devices = jax.device_count()
    if config["batch_size"] % devices:
        raise ValueError(
            f"config.batch_size={config['batch_size']} must be divisible by the number of devices "
            f"({devices})"
        )


def check_learning_rates(spec, steps: int, key: str = "config.optimizer") -> None:
    """Raises ValueError if a learning rate or schedule is negative, not finite or always 0.

    Args:
      spec: of the optimizer, or a part of it.
      steps: of the run.
      key: the dotted key of `spec`.
    """
    parts = spec.items() if isinstance(spec, dict) else enumerate(spec)
    for name, part in parts:
        if name == "learning_rate":
            if isinstance(part, dict):
                check_learning_rates(part, steps, f"{key}.learning_rate")
            learning_rate = build(part, f"{key}.learning_rate")
            at = np.unique(np.linspace(0, steps - 1, min(steps, 65)).astype(int))
            # One program for all steps, not one for each operation of the schedule.
            values = (
                np.asarray(jax.jit(jax.vmap(cast(Any, learning_rate)))(at), float)
                if callable(learning_rate)
                else [learning_rate]
            )
            for value in values:
                ranges.check_number(
                    f"{key}.learning_rate",
                    value,
                    minimum=0,
                    maximum=MAX_LEARNING_RATE,
                )
            if not any(values):
                raise ValueError(f"{key}.learning_rate is 0 in all {steps} steps: use more than 0")
        elif isinstance(part, dict | list | tuple):
            check_learning_rates(part, steps, f"{key}.{name}")


def check_clip_lengths(source: Source, sampler: clip_sampling.ClipSampler) -> None:
    """Raises ValueError if a clip is more than twice as long as the longest of a few files."""
    rows = np.linspace(0, len(source) - 1, min(len(source), NUM_FILES_CHECKED)).astype(int)
    durations = (
        []
        if source.read or source.arrays
        else [record_seconds(source[row]) for row in np.unique(rows)]
    )
    clip_seconds = max(sampler.num_frames / sampler.fps, sampler.num_samples / sampler.sample_rate)
    if any(durations) and max(durations) < clip_seconds / 2:
        raise ValueError(
            f"clips of {clip_seconds:g} s, but the longest of {len(durations)} files has "
            f"{max(durations):.1f} s; use fewer frames or seconds in the clip_sampler"
        )


def record_seconds(record: dict) -> float:
    """Returns the duration of a record in seconds (video or audio); 0 if its file is unreadable."""
    try:
        with media_video.open_media(record["path"]) as media:
            info = clip_times.restrict_to_record(media.info, record)
    except media_video.MediaError:  # Reported when the record is read.
        return 0.0
    streams = (info.video_start, info.video_end), (info.audio_start, info.audio_end)
    return max(end - start for start, end in streams if start is not None and end is not None)
