"""Transforms of the waveform, on int16 [N]."""

import numpy as np


def gain(low=0.9, high=1.1):
    """Multiplies the sound by U(low, high), one factor a clip; loud samples are clipped."""

    def transform(example, rng):
        wave = example["audio"] * np.float32(rng.uniform(low, high))
        return {**example, "audio": np.clip(np.rint(wave), -32768, 32767).astype(np.int16)}

    return transform
