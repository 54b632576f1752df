"""Transforms of the waveform, on int16 [N]."""

import numpy as np

from avjax.config import ranges
from avjax.data.clip_sampling import SOUNDS


def gain(low: float = 0.9, high: float = 1.1):
    """Multiplies the sound by U(low, high), one factor a clip; loud samples are clipped.

    Sound at another time of the file has a factor of its own, lest loudness give it away.
    """
    ranges.number("low", low, least=0)
    ranges.number("high", high, least=low)

    def transform(example, rng):
        example = dict(example)
        for name in SOUNDS:
            if name in example:
                wave = example[name] * np.float32(rng.uniform(low, high))
                example[name] = np.clip(np.rint(wave), -32768, 32767).astype(np.int16)
        return example

    return transform
