"""Nets that compile and train in no time, and slow data: what is around them is tested."""

import time

import flax.linen as nn


class Video(nn.Module):
    """[B, T, H, W, 3] -> [B, 32]."""

    @nn.compact
    def __call__(self, x, train: bool):
        return nn.Dense(32)(x.mean((1,)).reshape(len(x), -1))


class Audio(nn.Module):
    """[B, S, F] -> [B, 32]."""

    @nn.compact
    def __call__(self, x, train: bool):
        return nn.Dense(32)(x.mean(1))


def wait(seconds):
    """Returns a transform that only takes time.

    Args:
      seconds: for each clip.
    """

    def transform(clip, rng):
        time.sleep(seconds)
        return clip

    return transform
