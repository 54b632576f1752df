"""A plain net of clips like AVTS's, used by AVID before its release.

Its authors' AVID (https://github.com/facebookresearch/AVID-CMA) had it as "VGGishMC3"; it is not
the MC3 of AVTS's paper (https://arxiv.org/abs/1807.00230), which is `resnet3d.mc3`.
"""

from typing import Callable

import flax.linen as nn
import jax.numpy as jnp

from avjax.nets.layers.batch_norm import BatchNorm
from avjax.nets.layers.conv import Conv3D
from avjax.types import Array

STAGES = (  # The kernel of both convolutions, and the strides of the first.
    ((3, 3, 3), (1, 1, 1)),
    ((1, 3, 3), (2, 2, 2)),
    ((1, 3, 3), (2, 2, 2)),
    ((1, 3, 3), (1, 2, 2)),
)


class VGGMC3(nn.Module):
    """Clips [B, T, H, W, 3] -> features [B, 8 * width], their maximum; paper: none.

    4,898,240 parameters and 7.64 GMACs at 8x112x112.  Only the stem and the first of four stages
    convolve over time.  The modules are `conv1` and `conv2x` ... `conv5x`, whose features are
    probed.  `norm` as in `avid_r2plus1d.R2Plus1D`.
    """

    width: int = 64
    dtype: str | jnp.dtype = jnp.float32
    norm: Callable = BatchNorm

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        x = Conv3D(self.width, (3, 7, 7), (1, 2, 2), dtype=self.dtype, name="conv1")(x)
        x = nn.relu(self.norm(name="conv1_norm")(x, train))
        for i, (kernel, strides) in enumerate(STAGES):
            stage = Stage(self.width << i, kernel, strides, self.dtype, self.norm,
                          name=f"conv{i + 2}x")  # fmt: skip
            x = stage(x, train)
        return x.max((1, 2, 3))


class Stage(nn.Module):
    """Two convolutions, each normalized and rectified."""

    features: int
    kernel: tuple[int, int, int]
    strides: tuple[int, int, int]
    dtype: str | jnp.dtype
    norm: Callable

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        for i, strides in ((1, self.strides), (2, (1, 1, 1))):
            x = Conv3D(self.features, self.kernel, strides, dtype=self.dtype, name=f"conv{i}")(x)
            x = nn.relu(self.norm(name=f"norm{i}")(x, train))
        return x
