"""Residual nets of clips with different temporal convolutions: R(2+1)D, R3D, MC2 and MC3.

Tran et al., CVPR 2018 (https://arxiv.org/abs/1711.11248), published as
https://github.com/facebookresearch/VMZ and, with small changes, in torchvision.  None of them is
AVID's video net, which is called R(2+1)D-18 too: that is `avid_r2plus1d.R2Plus1D`.

Each function returns a `VideoResNet`, of clips [B, T, H, W, 3] -> features [B, 8 * width].  GMACs
are of one clip, for depth 18 and width 64; twice or half as many for twice or half as many
frames.
"""

from typing import Callable

import flax.linen as nn
import jax.numpy as jnp

from avjax.nets.layers.batch_norm import BatchNorm, batch_norm
from avjax.nets.layers.conv import Conv3D
from avjax.nets.layers.factorized_conv import FactorizedConv3D, midplanes_for
from avjax.nets.layers.max_pool import max_pool
from avjax.nets.layers.residual import block_specs
from avjax.nets.video.avid_r2plus1d import BLOCKS
from avjax.types import Array

he = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
caffe2 = batch_norm(epsilon=1e-3)
THREE, STEM = (3, 3, 3), (3, 7, 7)


def r2plus1d(
    depth: int = 18,
    stem_pool: bool = False,
    width: int = 64,
    dtype: str | jnp.dtype = jnp.float32,
    norm: Callable[..., nn.Module] = caffe2,
) -> "VideoResNet":
    """VMZ's R(2+1)D, the video net of XDC (https://arxiv.org/abs/1911.12667).

    33,165,639 parameters; GMACs: 20.7 at 8x112x112, 41.5 at 16x112x112, 83.0 at 8x224x224.
    Depth 34 has 63,491,975 and 76.2 at 16x112x112.  Each convolution has its own number of
    planes between space and time.  `stem_pool` is what VMZ offers for
    crops of 224: 21.9 at 8x224x224.

    Args:
      depth, stem_pool, width, dtype, norm: see VideoResNet.
    """
    return VideoResNet(("factorized",) * 5, depth, stem_pool, width, dtype, norm)


def torchvision_r2plus1d(
    depth: int = 18,
    width: int = 64,
    dtype: str | jnp.dtype = jnp.float32,
    norm: Callable[..., nn.Module] = BatchNorm,
) -> "VideoResNet":
    """torchvision's R(2+1)D, also the one of GDT.

    31,300,125 parameters; GMACs: 20.3 at 8x112x112, 40.5 at 16x112x112, 81.0 at 8x224x224.
    Both convolutions of a block have the planes between space and time that its first needs.

    Args:
      depth, width, dtype, norm: see VideoResNet.
    """
    return VideoResNet(("shared",) * 5, depth, False, width, dtype, norm)


def r3d(
    depth: int = 18,
    stem_pool: bool = False,
    width: int = 64,
    dtype: str | jnp.dtype = jnp.float32,
    norm: Callable[..., nn.Module] = BatchNorm,
) -> "VideoResNet":
    """R3D: every convolution in 3-D.

    33,166,272 parameters; GMACs: 20.4 at 8x112x112, 40.7 at 16x112x112, 81.4 at 8x224x224.
    The epsilon is torchvision's; VMZ's is 1e-3.

    Args:
      depth, stem_pool, width, dtype, norm: see VideoResNet.
    """
    return VideoResNet(("full",) * 5, depth, stem_pool, width, dtype, norm)


def mc2(
    depth: int = 18,
    stem_pool: bool = False,
    width: int = 64,
    dtype: str | jnp.dtype = jnp.float32,
    norm: Callable[..., nn.Module] = BatchNorm,
) -> "VideoResNet":
    """MC2: only the stem is in 3-D, and no stage has a stride in time.

    11,195,328 parameters; GMACs: 14.3 at 8x112x112, 28.5 at 16x112x112, 57.1 at 8x224x224.
    The video net of AVTS (https://arxiv.org/abs/1807.00230), as is MC3.  The epsilon is as in
    torchvision, which lacks this net; VMZ's is 1e-3.

    Args:
      depth, stem_pool, width, dtype, norm: see VideoResNet.
    """
    return VideoResNet(("full", *("flat",) * 4), depth, stem_pool, width, dtype, norm)


def mc3(
    depth: int = 18,
    stem_pool: bool = False,
    width: int = 64,
    dtype: str | jnp.dtype = jnp.float32,
    norm: Callable[..., nn.Module] = BatchNorm,
) -> "VideoResNet":
    """MC3: the stem and the first stage are in 3-D, and no stage has a stride in time.

    11,490,240 parameters; GMACs: 21.7 at 8x112x112, 43.3 at 16x112x112, 86.7 at 8x224x224.
    The epsilon is torchvision's; VMZ's is 1e-3.

    Args:
      depth, stem_pool, width, dtype, norm: see VideoResNet.
    """
    return VideoResNet(("full", "full", *("flat",) * 3), depth, stem_pool, width, dtype, norm)


class VideoResNet(nn.Module):
    """Clips [B, T, H, W, 3] -> features [B, 8 * width], the mean over time and positions.

    `convs` are the convolutions of the stem and of the four stages:

        "full"        3x3x3
        "flat"        1x3x3, with a stride in space only
        "factorized"  1x3x3 and 3x1x1, each with its own number of channels in between
        "shared"      the same, with the number of the block's first for both

    The modules are `conv1`, `conv2x_0` ... `conv5x_1`; the features of the last of each stage are
    probed.  `norm` is a factory of normalizations, as in `avid_r2plus1d.R2Plus1D`.
    """

    convs: tuple[str, ...]
    depth: int = 18
    stem_pool: bool = False
    width: int = 64
    dtype: str | jnp.dtype = jnp.float32
    norm: Callable = BatchNorm

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        parts = block_specs(self, BLOCKS)
        stem, *kinds = self.convs
        x = Stem(self.width, stem, self.stem_pool, self.dtype, self.norm, name="conv1")(x, train)
        for name, stage, stride in parts:
            x = Block(self.width << stage, stride, kinds[stage], self.dtype, self.norm,
                      name=name)(x, train)  # fmt: skip
        return x.mean((1, 2, 3))


class Stem(nn.Module):
    """[B, T, H, W, 3] -> [B, T, H/2, W/2, features]; half of that again with `pool`."""

    features: int
    kind: str
    pool: bool
    dtype: str | jnp.dtype
    norm: Callable

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        strides = 1, 2, 2
        if self.kind == "full":
            x = Conv3D(self.features, STEM, strides, dtype=self.dtype, kernel_init=he,
                       name="conv")(x)  # fmt: skip
        else:
            midplanes = 45 * self.features // 64  # Reference: not the 83 of the formula.
            x = FactorizedConv3D(self.features, STEM, strides, midplanes, self.dtype, self.norm, he,
                      name="conv")(x, train)  # fmt: skip
        x = nn.relu(self.norm(name="norm")(x, train))
        return max_pool(x, (1, 3, 3), (1, 2, 2)) if self.pool else x


class Block(nn.Module):
    """Two convolutions around a shortcut: a pointwise one where the shape changes."""

    features: int
    stride: int
    kind: str
    dtype: str | jnp.dtype
    norm: Callable

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        c, features = x.shape[-1], self.features
        midplanes = [midplanes_for(THREE, c, features), midplanes_for(THREE, features, features)]
        if self.kind == "shared":
            midplanes[1] = midplanes[0]

        def norm(name, x):
            return self.norm(name=f"{name}_norm")(x, train)

        def plain(name, x, kernel, s):
            strides = (1 if self.kind == "flat" else s, s, s)
            return Conv3D(features, kernel, strides, dtype=self.dtype, kernel_init=he,
                          name=name)(x)  # fmt: skip

        def conv(name, x, s, midplanes):
            if self.kind in ("full", "flat"):
                return plain(name, x, (1, 3, 3) if self.kind == "flat" else THREE, s)
            return FactorizedConv3D(
                features, THREE, (s, s, s), midplanes, self.dtype, self.norm, he, name=name
            )(x, train)

        shortcut = x
        if self.stride != 1 or c != features:
            shortcut = norm("shortcut", plain("shortcut", x, (1, 1, 1), self.stride))
        x = nn.relu(norm("conv1", conv("conv1", x, self.stride, midplanes[0])))
        return nn.relu(norm("conv2", conv("conv2", x, 1, midplanes[1])) + shortcut)
