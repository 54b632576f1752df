"""I3D of RGB, a video net of inception blocks inflated to 3-D; one of AVTS's video nets.

Carreira, Zisserman, CVPR 2017 (https://arxiv.org/abs/1705.07750), by way of
https://github.com/piergiaj/pytorch-i3d.
"""

from typing import Callable

import flax.linen as nn
import jax.numpy as jnp

from avjax.nets.layers.batch_norm import batch_norm
from avjax.nets.layers.conv import Conv3D, same_padding
from avjax.nets.layers.max_pool import max_pool
from avjax.types import Array

# Of each block the widths of: 1x1 | 1x1, 3x3 | 1x1, 3x3 | pool, 1x1.
MIXED = {
    "mixed3b": (64, 96, 128, 16, 32, 32),
    "mixed3c": (128, 128, 192, 32, 96, 64),
    "mixed4b": (192, 96, 208, 16, 48, 64),
    "mixed4c": (160, 112, 224, 24, 64, 64),
    "mixed4d": (128, 128, 256, 24, 64, 64),
    "mixed4e": (112, 144, 288, 32, 64, 64),
    "mixed4f": (256, 160, 320, 32, 128, 128),
    "mixed5b": (256, 160, 320, 32, 128, 128),
    "mixed5c": (384, 192, 384, 48, 128, 128),
}
BRANCHES = ("b0", "b1a", "b1b", "b2a", "b2b", "b3b")
POOLS = {"mixed4b": (3, 3, 3), "mixed5b": (2, 2, 2)}  # Windows, before the block.


class I3D(nn.Module):
    """Clips [B, T, H, W, 3] -> features [B, 16 * width]; paper: [B, 64, 224, 224, 3].

    12,287,264 parameters, 12,697,264 with its linear layer for 400 actions; GMACs: 6.98 at
    16x112x112, 27.8 at 16x224x224, 111 at 64x224x224.  The modules are `conv1a`, `conv2b`,
    `conv2c` and `mixed3b` ... `mixed5c`, whose features are probed.  `norm` as in
    `avid_r2plus1d.R2Plus1D`; the source's epsilon and momentum are not PyTorch's own.
    """

    width: int = 64
    dtype: str | jnp.dtype = jnp.float32
    norm: Callable = batch_norm(epsilon=1e-3, momentum=0.99)

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        def unit(name, x, features, size, stride=1):
            features = features * self.width // 64
            return Unit(features, size, stride, self.dtype, self.norm, name=name)(x, train)

        x = unit("conv1a", x, 64, 7, 2)
        x = pool(x, (1, 3, 3), (1, 2, 2))
        x = unit("conv2b", x, 64, 1)
        x = unit("conv2c", x, 192, 3)
        x = pool(x, (1, 3, 3), (1, 2, 2))
        for name, widths in MIXED.items():
            x = pool(x, POOLS[name], (2, 2, 2)) if name in POOLS else x
            widths = tuple(n * self.width // 64 for n in widths)
            x = Mixed(widths, self.dtype, self.norm, name=name)(x, train)
        x = x.mean((2, 3))  # Reference: over 7x7, all that is left of 224x224.
        # Reference: pairs of times are averaged, then the pairs: the ends count half.
        x = (x[:, 1:] + x[:, :-1]) / 2 if x.shape[1] > 1 else x
        return x.mean(1)


class Mixed(nn.Module):
    """Four branches, joined along the channels."""

    widths: tuple[int, ...]
    dtype: str | jnp.dtype
    norm: Callable

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        widths = dict(zip(BRANCHES, self.widths))

        def unit(name, x, size):
            return Unit(widths[name], size, 1, self.dtype, self.norm, name=name)(x, train)

        parts = [
            unit("b0", x, 1),
            unit("b1b", unit("b1a", x, 1), 3),
            unit("b2b", unit("b2a", x, 1), 3),
            unit("b3b", pool(x, (3, 3, 3), (1, 1, 1)), 1),
        ]
        return jnp.concatenate(parts, -1)


class Unit(nn.Module):
    """A convolution `conv` of `size` in time and space, its `norm` and ReLU."""

    features: int
    size: int
    stride: int
    dtype: str | jnp.dtype
    norm: Callable

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        kernel = (self.size, self.size, self.size)
        strides = (self.stride, self.stride, self.stride)
        x = Conv3D(self.features, kernel, strides, same_padding(x.shape[1:-1], kernel, strides),
                   dtype=self.dtype, name="conv")(x)  # fmt: skip
        return nn.relu(self.norm(name="norm")(x, train))


def pool(x: Array, window: tuple[int, int, int], strides: tuple[int, int, int]) -> Array:
    """Applies `max_pool` with padding as in TensorFlow.

    Args:
      x: [B, T, H, W, C].
      window, strides: (time, height, width).
    """
    # Reference: pads with zeros; what is pooled is never negative, so it is the same.
    return max_pool(x, window, strides, same_padding(x.shape[1:-1], window, strides))
