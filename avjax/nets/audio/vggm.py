"""AVTS's audio net, similar to VGG-M, on the log-mel spectrogram.

Korbar, Tran, Torresani, NeurIPS 2018 (https://arxiv.org/abs/1807.00230), after the lip
synchronization net of Chung & Zisserman, ACCV-W 2016.
"""

from typing import Callable

import flax.linen as nn
import jax.numpy as jnp

from avjax.nets.image.resnet import as_images
from avjax.nets.layers.batch_norm import BatchNorm
from avjax.nets.layers.conv import Conv2D
from avjax.nets.layers.max_pool import max_pool
from avjax.nets.layers.mlp import Linear
from avjax.types import Array

LAYERS = ((1, True), (3, True), (6, False), (4, False), (4, True), (8, False))  # Width, pool.


class Layer(nn.Module):
    """A convolution with a bias, normalization and ReLU."""

    features: int
    kernel: tuple[int, int]
    pads: tuple | None
    dtype: str | jnp.dtype
    norm: Callable

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        x = Conv2D(self.features, self.kernel, pads=self.pads, dtype=self.dtype, use_bias=True,
                   name="conv")(x)  # fmt: skip
        return nn.relu(self.norm(name="norm")(x, train))


class VGGM9(nn.Module):
    """Spectrograms [B, S, F] or [B, S, F, 1] -> features [B, 8 * width]; paper: [B, 100, 40].

    Its ninth layer is the head: `mlp.Linear(D)`.  3,961,280 parameters and 0.620 GMACs
    without it at 100 x 40.  The modules are `conv1` ... `conv6`, whose features are probed, and
    `fc7` and `fc8`.  `norm` makes the normalizations, as in `avid_convnet.AudioConvNet`.
    """

    width: int = 64
    dtype: str | jnp.dtype = jnp.float32
    norm: Callable = BatchNorm

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        # Paper: its table is not published.  This is the audio net of
        # https://github.com/joonson/syncnet_python up to its fifth convolution, of whose two
        # strides in time one moved to the first pool, for 100 x 40 in place of 20 x 13; its
        # last convolution, over all that was left, became a 3x3 one and the global maximum.
        x = as_images(x)
        for i, (times, pool) in enumerate(LAYERS):
            layer = Layer(times * self.width, (3, 3), None, self.dtype, self.norm,
                          name=f"conv{i + 1}")  # fmt: skip
            x = layer(x, train)
            x = max_pool(x, (3, 3), (2, 2), ((0, 0), (0, 0))) if pool else x
        x = x.max((1, 2))
        for i in (7, 8):
            x = Linear(8 * self.width, self.dtype, name=f"fc{i}")(x, train)
            x = nn.relu(self.norm(name=f"fc{i}_norm")(x, train))
        return x
