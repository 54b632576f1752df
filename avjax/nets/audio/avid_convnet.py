"""AVID's audio net, a plain 2-D convolutional net on the spectrogram.

Morgado, Vasconcelos, Misra, CVPR 2021 (https://arxiv.org/abs/2004.12943).
"""

from typing import Callable

import flax.linen as nn
import jax.numpy as jnp

from avjax.config import ranges
from avjax.nets.layers import conv
from avjax.nets.layers.batch_norm import BatchNorm
from avjax.types import Array


class Block(nn.Module):
    """Two 3x3 convolutions, each with normalization and ReLU."""

    features: int
    stride: int
    dtype: str | jnp.dtype
    norm: Callable

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        for i, stride in ((1, self.stride), (2, 1)):
            strides = (stride, stride)
            x = conv.Conv2D(self.features, (3, 3), strides, dtype=self.dtype, name=f"conv{i}")(x)
            x = nn.relu(self.norm(name=f"norm{i}")(x, train))
        return x


class AudioConvNet(nn.Module):
    """Spectrograms [B, S, F] or [B, S, F, 1] -> features [B, 8 * width].

    The modules are `conv1` and `block1` ... `block4`, whose features are probed.

    Attributes:
      depth: only 10: the stem, four blocks of two, and a head.
      small: no stride in the first block: the variant of the paper's ablations, for 100 x 129.
      width: channels of the stem.
      dtype: of the computation.
      norm: factory of normalizations: `batch_norm.BatchNorm`, or one of
        `nets/layers/batch_independent_norm.py`.
    """

    depth: int = 10
    small: bool = False
    width: int = 64
    dtype: str | jnp.dtype = jnp.float32
    norm: Callable = BatchNorm

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        if self.depth != 10:
            raise ValueError(f"depth={self.depth} of AudioConvNet: use 10")
        ranges.check_integer("width", self.width, 1)
        x = x[..., None] if x.ndim == 3 else x
        x = conv.Conv2D(self.width, (7, 7), (2, 2), dtype=self.dtype, name="conv1")(x)
        x = nn.relu(self.norm(name="conv1_norm")(x, train))
        for i, stride in enumerate((1 if self.small else 2, 2, 2, 1)):
            block = Block(self.width << i, stride, self.dtype, self.norm, name=f"block{i + 1}")
            x = block(x, train)
        return x.max((1, 2))
