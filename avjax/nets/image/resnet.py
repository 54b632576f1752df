"""Residual nets of images and spectrograms.

He et al., CVPR 2016 (https://arxiv.org/abs/1512.03385), as in torchvision: a bottleneck has its
stride in the 3x3 convolution.
"""

from typing import Callable

import flax.linen as nn
import jax.numpy as jnp

from avjax.nets.layers.batch_norm import BatchNorm
from avjax.nets.layers.conv import Conv2D
from avjax.nets.layers.max_pool import max_pool
from avjax.nets.layers.residual import block_specs
from avjax.types import Array

he = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
BLOCKS = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


class ResNet2D(nn.Module):
    """Images [B, H, W, 3] or spectrograms [B, S, F] or [B, S, F, 1] -> features [B, H].

    H is 8 * width, from depth 50 on 32 * width; the mean over all positions.  Also takes clips of
    one frame.  Depth 10 is the audio net of SSCL, which SeLaVi and GDT call "resnet9".

        depth   parameters   GMACs at 224x224
        10       4,905,792    0.89, with one channel 4,899,520 and 0.90 at 200x257
        18      11,176,512    1.81
        34      21,284,672    3.66
        50      23,508,032    4.09
        101     42,500,160    7.80
        152     58,143,808   11.51

    The modules are `conv1`, `conv2x_0` ...; the features of the last of each stage are probed.
    `norm` as in `avid_convnet.AudioConvNet`.
    """

    depth: int = 18
    width: int = 64
    dtype: str | jnp.dtype = jnp.float32
    norm: Callable = BatchNorm

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        parts = block_specs(self, BLOCKS)
        block = Bottleneck if self.depth >= 50 else Block
        x = Conv2D(self.width, (7, 7), (2, 2), dtype=self.dtype, kernel_init=he,
                   name="conv1")(as_images(x))  # fmt: skip
        x = nn.relu(self.norm(name="conv1_norm")(x, train))
        x = max_pool(x, (3, 3), (2, 2))
        for name, stage, stride in parts:
            x = block(self.width << stage, stride, self.dtype, self.norm, name=name)(x, train)
        return x.mean((1, 2))


def as_images(x: Array) -> Array:
    """Returns images [B, H, W, C].

    Args:
      x: images, spectrograms [B, S, F], or clips of one frame [B, 1, H, W, C].
    """
    if x.ndim == 5:
        if x.shape[1] != 1:
            raise ValueError(f"clips of {x.shape[1]} frames for an image net: set frames=1")
        return x[:, 0]
    return x[..., None] if x.ndim == 3 else x


class Block(nn.Module):
    """Two 3x3 convolutions around a shortcut: a 1x1 one where the shape changes."""

    features: int
    stride: int
    dtype: str | jnp.dtype
    norm: Callable

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        return residual_sum(self, x, train, (self.features, 3, self.stride), (self.features, 3, 1))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 to four times the features, around a shortcut as in `Block`."""

    features: int
    stride: int
    dtype: str | jnp.dtype
    norm: Callable

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        n = self.features
        return residual_sum(self, x, train, (n, 1, 1), (n, 3, self.stride), (4 * n, 1, 1))


def residual_sum(block: nn.Module, x: Array, train: bool, *layers: tuple[int, int, int]) -> Array:
    """Applies convolutions with a shortcut around them.

    Args:
      block: the module that holds the parameters; gives features, stride, dtype and norm.
      x: [B, H, W, C].
      train: whether to use and update batch statistics.
      layers: (features, kernel size, stride) of each convolution.

    Returns:
      [B, H', W', features of the last].
    """

    def layer(name, x, features, size, stride):
        x = Conv2D(features, (size, size), (stride, stride), dtype=block.dtype, kernel_init=he,
                   name=name)(x)  # fmt: skip
        return block.norm(name=f"{name}_norm")(x, train)

    shortcut, last = x, layers[-1][0]
    if block.stride != 1 or x.shape[-1] != last:
        shortcut = layer("shortcut", x, last, 1, block.stride)
    for i, (features, size, stride) in enumerate(layers, 1):
        x = layer(f"conv{i}", x if i == 1 else nn.relu(x), features, size, stride)
    return nn.relu(x + shortcut)
