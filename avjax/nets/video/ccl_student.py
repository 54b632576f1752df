"""CCL's video student: an R(2+1)D whose stem and shortcuts are factorized too.

Chen et al., CVPR 2021 (https://arxiv.org/abs/2104.10955), whose "R(2+1)D-18" has one block a
stage where Tran et al. (https://arxiv.org/abs/1711.11248) and `vmz` have two.
"""

from typing import Callable

import flax.linen as nn
import jax.numpy as jnp

from avjax.nets.layers.batch_norm import BatchNorm
from avjax.nets.layers.factorized_conv import FactorizedConv3D, midplanes_for
from avjax.nets.layers.residual import block_specs
from avjax.nets.video.avid_r2plus1d import BLOCKS
from avjax.types import Array


class Student(nn.Module):
    """Clips [B, T, H, W, 3] -> features [B, 8 * width], the mean over time and positions.

    14,365,303 parameters, 14,391,466 with a linear layer for 51 classes; 21.4 GMACs at
    16x112x112.  Depth 10 is what its authors call 18; depth 34 has 63,504,759 parameters and
    76.9 GMACs.  The modules are `conv1` and `norm1`, `conv2x_0` ... `conv5x_0`; the features of
    the last of each stage are probed.  `norm` as in `avid_r2plus1d.R2Plus1D`.
    """

    depth: int = 10
    width: int = 64
    dtype: str | jnp.dtype = jnp.float32
    norm: Callable = BatchNorm

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        parts, kernel = block_specs(self, BLOCKS), (3, 7, 7)
        midplanes = midplanes_for(kernel, x.shape[-1], self.width)
        x = FactorizedConv3D(self.width, kernel, (1, 2, 2), midplanes, self.dtype, self.norm,
                  name="conv1")(x, train)  # fmt: skip
        x = nn.relu(self.norm(name="norm1")(x, train))
        for name, stage, stride in parts:
            x = Block(self.width << stage, stride, self.dtype, self.norm, name=name)(x, train)
        return x.mean((1, 2, 3))


class Block(nn.Module):
    """Two factorized convolutions with a shortcut, factorized and pointwise with a stride."""

    features: int
    stride: int
    dtype: str | jnp.dtype
    norm: Callable

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        def conv(name, x, size, s):
            kernel = (size,) * 3
            midplanes = midplanes_for(kernel, x.shape[-1], self.features)
            x = FactorizedConv3D(self.features, kernel, (s, s, s), midplanes, self.dtype, self.norm,
                      name=name)(x, train)  # fmt: skip
            return self.norm(name=f"{name}_norm")(x, train)

        shortcut = x if self.stride == 1 else conv("shortcut", x, 1, self.stride)
        x = nn.relu(conv("conv1", x, 3, self.stride))
        return nn.relu(conv("conv2", x, 3, 1) + shortcut)
