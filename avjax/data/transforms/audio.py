"""Transforms of the waveform, int16 [N]."""

import math
from collections.abc import Callable

import numpy as np
import soxr

from avjax.config import ranges
from avjax.data.clip_reading import AUDIO_KEYS


def random_gain(low: float = 0.9, high: float = 1.1) -> Callable[[dict, np.random.Generator], dict]:
    """Multiplies the audio by U(low, high), one factor per clip; loud samples are clipped.

    Audio of another time of the file has its own factor, so that loudness does not identify it.

    Args:
      low, high: range of the factor, 0 or more.
    """
    ranges.check_number("low", low, minimum=0)
    ranges.check_number("high", high, minimum=low)

    def transform(example, rng):
        example = dict(example)
        for name in AUDIO_KEYS:
            if name in example:
                scaled = example[name] * np.float32(rng.uniform(low, high))
                example[name] = np.clip(np.rint(scaled), -32768, 32767).astype(np.int16)
        return example

    return transform


def random_speed(
    num_samples: int, low: float = 3 / 4, high: float = 4 / 3
) -> Callable[[dict, np.random.Generator], dict]:
    """Changes speed and pitch: a random part of the audio, resampled by a factor of U(low, high).

    The result counts as being at the rate of before, so a factor above 1 is slower and lower.
    AVID, https://arxiv.org/abs/2004.12943, in sound classification.

    Args:
      num_samples: samples of the result.  The clip must have num_samples / low, or more.
      low, high: range of the factor, above 0.
    """
    ranges.check_integer("num_samples", num_samples, 1)
    ranges.check_number("low", low, above=0)
    ranges.check_number("high", high, minimum=low)

    def transform(example, rng):
        example = dict(example)
        for name in [name for name in AUDIO_KEYS if name in example]:
            factor = rng.uniform(low, high)
            wave, needed = example[name], math.ceil(num_samples / factor)
            if len(wave) < needed:
                raise ValueError(
                    f"clips of {len(wave)} samples for num_samples={num_samples} with low={low:g}: "
                    f"use clips of {math.ceil(num_samples / low)} samples or more"
                )
            first = rng.integers(len(wave) - needed + 1)
            part = wave[first : first + needed].astype(np.float64)
            changed = soxr.resample(part, 1.0, factor, quality="HQ")[:num_samples]
            out = np.zeros((num_samples, *wave.shape[1:]), np.int16)
            out[: len(changed)] = np.clip(np.rint(changed), -32768, 32767)
            example[name] = out
        return example

    return transform
