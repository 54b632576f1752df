"""CNN14 of PANNs, the audio teacher of CCL.

Kong et al., TASLP 2020 (https://arxiv.org/abs/1912.10211),
https://github.com/qiuqiangkong/audioset_tagging_cnn; Chen et al., CVPR 2021
(https://arxiv.org/abs/2104.10955) distill from the features of its variant of 512.
"""

from typing import Callable

import flax.linen as nn
import jax.numpy as jnp

from avjax.nets.layers.batch_norm import BatchNorm
from avjax.nets.layers.conv import Conv2D
from avjax.types import Array

glorot = nn.initializers.xavier_uniform()


class Block(nn.Module):
    """Two 3x3 convolutions, each with normalization and ReLU; 2x2 average pooling if `pool`."""

    features: int
    pool: bool
    dtype: str | jnp.dtype
    norm: Callable

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        for i in (1, 2):
            conv = Conv2D(self.features, (3, 3), dtype=self.dtype, kernel_init=glorot,
                          name=f"conv{i}")  # fmt: skip
            x = nn.relu(self.norm(name=f"norm{i}")(conv(x), train))
        if not self.pool:
            return x
        b, s, f, c = x.shape
        x = x[:, : s // 2 * 2, : f // 2 * 2]  # As in PyTorch, an odd one is left out.
        return x.reshape(b, s // 2, 2, f // 2, 2, c).mean((2, 4))


class Cnn14(nn.Module):
    """Decibels [B, S, 64] of `logmel.PANNs`, S >= 32 -> features [B, embedding], none negative.

    An `embedding` of 2048 is CNN14, one of 512 CNN14-emb512, the teacher of CCL.  With 2048,
    79,673,792 parameters, 80,753,615 with the linear layer for 527 sounds that is AudioSet's
    head; 76,526,528 with 512.  20.04 GMACs at
    10 s, 1001 x 64.  The modules are `norm`, `block1` ... `block6`, whose features are probed, and
    `linear`.  `norm` as in `avid_convnet.AudioConvNet`.
    """

    embedding: int = 2048
    width: int = 64
    dtype: str | jnp.dtype = jnp.float32
    norm: Callable = BatchNorm

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        if x.shape[1] < 32:
            raise ValueError(f"{x.shape[1]} frames: five poolings need 32 or more")
        x = x[..., 0] if x.ndim == 4 else x
        # Over time and examples, each mel frequency by itself.
        x = self.norm(name="norm")(x, train)[..., None]
        # Paper: PANNs trains with dropout and masks of time and frequency; as a teacher it is
        # only evaluated, so that there are none here.
        for i in range(6):
            block = Block(self.width << i, i < 5, self.dtype, self.norm, name=f"block{i + 1}")
            x = block(x, train)
        x = x.mean(2)
        x = x.max(1) + x.mean(1)
        return nn.relu(nn.Dense(self.embedding, dtype=self.dtype, kernel_init=glorot,
                                name="linear")(x))  # fmt: skip
