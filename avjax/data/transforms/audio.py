"""Transforms of the waveform, int16 [N]."""

from collections.abc import Callable

import numpy as np

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
