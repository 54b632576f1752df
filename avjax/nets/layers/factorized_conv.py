"""A (2+1)D convolution: spatial, then temporal, with a normalization between.

Tran et al., CVPR 2018 (https://arxiv.org/abs/1711.11248).
"""

from typing import Callable

import flax.linen as nn
import jax.numpy as jnp

from avjax.nets.layers.conv import Conv3D, uniform
from avjax.types import Array


def midplanes_for(kernel: tuple[int, int, int], before: int, after: int) -> int:
    """Number of channels in between for as many weights as a 3-D convolution, rounded down.

    Args:
      kernel: (time, height, width).
      before, after: input and output channels.
    """
    kt, kh, kw = kernel
    return kt * kh * kw * before * after // (kh * kw * before + kt * after)


class FactorizedConv3D(nn.Module):
    """[B, T, H, W, C] -> [B, T', H', W', features] via `midplanes` channels; output not normalized.

    The modules are `spatial`, its `norm`, and `temporal`; half of the kernel is padded on each
    side.
    """

    features: int
    kernel: tuple[int, int, int]
    strides: tuple[int, int, int]
    midplanes: int
    dtype: str | jnp.dtype
    norm: Callable
    kernel_init: nn.initializers.Initializer = uniform

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        (kt, kh, kw), (st, sh, sw) = self.kernel, self.strides

        def conv(name, x, features, kernel, strides):
            return Conv3D(features, kernel, strides, dtype=self.dtype,
                          kernel_init=self.kernel_init, name=name)(x)  # fmt: skip

        x = conv("spatial", x, self.midplanes, (1, kh, kw), (1, sh, sw))
        x = nn.relu(self.norm(name="norm")(x, train))
        return conv("temporal", x, self.features, (kt, 1, 1), (st, 1, 1))
