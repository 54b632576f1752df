"""Listen to Look's audio net, a ResNet-18 that keeps the first resolution.

Gao, Oh, Grauman, Torresani, CVPR 2020 (https://arxiv.org/abs/1912.04487),
https://github.com/facebookresearch/Listen-to-Look/blob/main/models/networks.py.
"""

from typing import Callable

import flax.linen as nn
import jax.numpy as jnp

from avjax.nets.image.resnet import Block, as_images
from avjax.nets.layers import conv
from avjax.nets.layers.batch_norm import BatchNorm
from avjax.nets.layers.max_pool import max_pool
from avjax.types import Array

small = nn.initializers.normal(0.02)


class ListenNet(nn.Module):
    """Spectrograms [B, S, F] or [B, S, F, 1], 33 <= F <= 48 -> features [B, 8 * width].

    11,170,244 parameters and 0.612 GMACs at 101 x 40.  The remaining three frequencies are
    averaged with weights shared by all channels, then time is max-pooled; features may be
    negative.  The paper starts from the weights of an image net, except `conv1`.  The modules are
    `conv1`, `conv2x_0` ... `conv5x_1`, whose features are probed, and `frequency`.
    `norm` as in `avid_convnet.AudioConvNet`.
    """

    width: int = 64
    dtype: str | jnp.dtype = jnp.float32
    norm: Callable = BatchNorm

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        if not 33 <= x.shape[2] <= 48:
            raise ValueError(f"{x.shape[2]} frequencies do not reduce to 3: use 33 to 48")
        x = conv.Conv2D(self.width, (7, 7), dtype=self.dtype, kernel_init=small,
                        name="conv1")(as_images(x))  # fmt: skip
        x = nn.relu(self.norm(name="conv1_norm")(x, train))
        x = max_pool(x, (3, 3), (2, 2))
        for stage in range(4):
            for i in range(2):
                block = Block(self.width << stage, 2 if stage and not i else 1, self.dtype,
                              self.norm, name=f"conv{stage + 2}x_{i}")  # fmt: skip
                x = block(x, train)
        x = x.swapaxes(2, 3)  # [B, S, C, 3]
        x = conv.Conv2D(1, (1, 1), dtype=self.dtype, kernel_init=small, use_bias=True,
                        name="frequency")(x)  # fmt: skip
        return x[..., 0].max(1)
