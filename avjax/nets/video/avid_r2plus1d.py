"""AVID's video net: residual, with separate spatial and temporal convolutions.

Morgado, Vasconcelos, Misra, CVPR 2021 (https://arxiv.org/abs/2004.12943), after the
R(2+1)D of Tran et al., CVPR 2018 (https://arxiv.org/abs/1711.11248).  It is not that net:
there are no wider mid-planes, the stem is one 3-D convolution and a max-pool, a residual
sum is normalized once, after the addition, and clips are pooled by their maximum.
"""

from typing import Callable

import flax.linen as nn
import jax.numpy as jnp

from avjax.nets.layers.batch_norm import BatchNorm
from avjax.nets.layers.conv import Conv3D
from avjax.nets.layers.max_pool import max_pool
from avjax.nets.layers.residual import block_specs
from avjax.types import Array

BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


class Stem(nn.Module):
    """[B, T, H, W, 3] -> [B, T, H/4, W/4, features]; half of that reduction without pool."""

    features: int
    pool: bool
    dtype: str | jnp.dtype
    norm: Callable

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        x = Conv3D(self.features, (3, 7, 7), (1, 2, 2), dtype=self.dtype, name="conv")(x)
        x = nn.relu(self.norm(name="norm")(x, train))
        return max_pool(x, (1, 3, 3), (1, 2, 2)) if self.pool else x


class Block(nn.Module):
    """Space, time, space, time; added to the input, then normalized."""

    features: int
    stride: int
    dtype: str | jnp.dtype
    norm: Callable

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        s, shortcut = self.stride, x

        def conv(name, x, kernel, strides=(1, 1, 1)):
            return Conv3D(self.features, kernel, strides, dtype=self.dtype, name=name)(x)

        def norm(name, x):
            return nn.relu(self.norm(name=name)(x, train))

        if s != 1 or x.shape[-1] != self.features:
            shortcut = conv("shortcut", x, (1, 1, 1), (s, s, s))
        x = norm("spatial1_norm", conv("spatial1", x, (1, 3, 3), (1, s, s)))
        x = norm("temporal1_norm", conv("temporal1", x, (3, 1, 1), (s, 1, 1)))
        x = norm("spatial2_norm", conv("spatial2", x, (1, 3, 3)))
        x = conv("temporal2", x, (3, 1, 1))
        return norm("norm", x + shortcut)


class R2Plus1D(nn.Module):
    """Clips [B, T, H, W, 3] -> features [B, 8 * width].

    `stem_pool=False` is the small variant of the paper's ablations, for 8x112x112.
    `width` is the paper's 64 but for quick runs.  The modules are `conv1`, `conv2x_0`,
    ... `conv5x_1`; the features of the last of each stage are probed.  `norm` is a factory of
    normalizations: `batch_norm.BatchNorm`, `batch_norm.batch_norm(groups)`, or one of
    `nets/layers/batch_independent_norm.py`.
    """

    depth: int = 18
    stem_pool: bool = True
    width: int = 64
    dtype: str | jnp.dtype = jnp.float32
    norm: Callable = BatchNorm

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        parts = block_specs(self, BLOCKS)
        x = Stem(self.width, self.stem_pool, self.dtype, self.norm, name="conv1")(x, train)
        for name, stage, stride in parts:
            x = Block(self.width << stage, stride, self.dtype, self.norm, name=name)(x, train)
        return x.max((1, 2, 3))
