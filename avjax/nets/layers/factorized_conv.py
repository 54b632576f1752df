"""A convolution of clips in two: in space, then in time, with a normalization between.

Tran et al., CVPR 2018 (https://arxiv.org/abs/1711.11248).
"""

from typing import Callable

import flax.linen as nn
import jax.numpy as jnp

from avjax.nets.layers.conv import Conv3D, uniform


def middle(kernel: tuple[int, int, int], before: int, after: int) -> int:
    """Planes between the two with which they have as many weights as one in 3-D, or just less."""
    kt, kh, kw = kernel
    return kt * kh * kw * before * after // (kh * kw * before + kt * after)


class Split(nn.Module):
    """[B, T, H, W, C] -> [B, T', H', W', features] by way of `planes`; the end is not normalized.

    The modules are `spatial`, its `norm`, and `temporal`; half of the kernel is padded on each
    side.
    """

    features: int
    kernel: tuple[int, int, int]
    strides: tuple[int, int, int]
    planes: int
    dtype: str | jnp.dtype
    norm: Callable
    kernel_init: nn.initializers.Initializer = uniform

    @nn.compact
    def __call__(self, x, train: bool):
        (kt, kh, kw), (st, sh, sw) = self.kernel, self.strides

        def conv(name, x, features, kernel, strides):
            return Conv3D(features, kernel, strides, dtype=self.dtype,
                          kernel_init=self.kernel_init, name=name)(x)  # fmt: skip

        x = conv("spatial", x, self.planes, (1, kh, kw), (1, sh, sw))
        x = nn.relu(self.norm(name="norm")(x, train))
        return conv("temporal", x, self.features, (kt, 1, 1), (st, 1, 1))
