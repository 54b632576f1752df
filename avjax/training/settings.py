"""Checks the values that a run reads itself: numbers, learning rates, lengths of clips."""

import math

import jax
import numpy as np

from avjax.config import ranges
from avjax.config.build import build
from avjax.data import clip_sampling
from avjax.data.media import video as media_video
from avjax.data.source import Source

# The least value of each number that the loop reads, and the most, if there is one.
NUMBERS = {
    "seed": (0, 2**63 - 1), "batch_size": (1, None), "steps": (1, None), "log_every": (1, None),
    "save_every": (1, None), "keep": (1, None), "refresh_every": (0, None),
    "calibration": (1, 2**16),
}  # fmt: skip
PARTS = ("data", "method", "optimizer", "evals", "sharding")
DTYPES = ("float32", "bfloat16", "float16", "float64")
LOOKED_AT = 8  # Files whose length is compared with that of a clip.
FASTEST = 1e4  # No learning rate is higher.


def check(config: dict) -> None:
    """Refuses a config that lacks a key, or has numbers that make no sense."""
    if missing := [key for key in (*NUMBERS, *PARTS) if key not in config]:
        raise ValueError(f"config.{missing[0]} is missing: see configs/smoke.py for all keys")
    for key, (least, most) in NUMBERS.items():
        ranges.whole(f"config.{key}", config[key], least, most)
    for key in PARTS[:-1]:
        if not isinstance(config[key], dict):
            raise ValueError(
                f"config.{key}={config[key]!r}: use a dictionary, see configs/smoke.py"
            )
    for key, value in leaves(config, "config"):
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{key}={value}: use a finite number")
        if key.endswith(".dtype") and value not in (None, *DTYPES):
            raise ValueError(f"{key}={value!r}: use one of {', '.join(DTYPES)}")
    if not isinstance(config["data"].get("train"), dict):
        raise ValueError(
            "config.data.train is missing: give a source, a clip_sampler and transforms"
        )
    devices = jax.device_count()
    if config["batch_size"] % devices:
        raise ValueError(
            f"config.batch_size={config['batch_size']} must be divisible by the number of devices "
            f"({devices})"
        )


def rates(spec, steps: int, key: str = "config.optimizer") -> None:
    """Refuses a learning rate, or a schedule of it, that is negative, not finite or always 0."""
    if isinstance(spec, dict) and spec.get("warmup_steps", 0) >= spec.get("decay_steps", math.inf):
        raise ValueError(
            f"{key}.warmup_steps={spec['warmup_steps']} of decay_steps={spec['decay_steps']}: use "
            "fewer, or a larger config.steps"
        )
    parts = spec.items() if isinstance(spec, dict) else enumerate(spec)
    for name, part in parts:
        if name == "learning_rate":
            if isinstance(part, dict):
                rates(part, steps, f"{key}.learning_rate")
            rate = build(part, f"{key}.learning_rate")
            at = np.unique(np.linspace(0, steps - 1, min(steps, 65)).astype(int))
            values = [float(rate(step)) for step in at] if callable(rate) else [rate]
            for value in values:
                ranges.number(f"{key}.learning_rate", value, least=0, most=FASTEST)
            if not any(values):
                raise ValueError(f"{key}.learning_rate is 0 in all {steps} steps: use more than 0")
        elif isinstance(part, dict | list | tuple):
            rates(part, steps, f"{key}.{name}")


def lengths(source: Source, sampler: clip_sampling.ClipSampler) -> None:
    """Refuses clips of which even the longest of a few files would be less than half."""
    rows = np.linspace(0, len(source) - 1, min(len(source), LOOKED_AT)).astype(int)
    spans = [] if source.read else [span(source[row]) for row in np.unique(rows)]
    asked = max(sampler.num_frames / sampler.fps, sampler.num_samples / sampler.sample_rate)
    if any(spans) and max(spans) < asked / 2:
        raise ValueError(
            f"clips of {asked:g} s of files that are shorter: of {len(spans)} the longest has "
            f"{max(spans):.1f} s; ask for fewer frames or seconds in the clip_sampler"
        )


def span(record: dict) -> float:
    """Seconds of a record, picture or sound; 0 where its file cannot be read."""
    try:
        with media_video.open_media(record["path"]) as media:
            info = clip_sampling.restrict_to_record(media.info, record)
    except media_video.MediaError:  # Found, named and counted when it is asked for.
        return 0.0
    streams = (info.video_start, info.video_end), (info.audio_start, info.audio_end)
    return max(end - start for start, end in streams if end is not None)


def leaves(tree, key):
    """(dotted key, leaf) of all that is in nested dictionaries and lists."""
    if isinstance(tree, dict | list | tuple):
        for name, part in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from leaves(part, f"{key}.{name}")
    else:
        yield key, tree
