"""Look, Listen and Learn's two nets, of a frame and of a second of audio.

Arandjelovic, Zisserman, ICCV 2017 (https://arxiv.org/abs/1705.08168), in the form of
https://github.com/marl/l3embedding (Cramer et al., ICASSP 2019).  Both have four groups of two
3x3 convolutions, 2x2 maxima between the groups and the global maximum at the end.  Keras's
kernels have our layout, [kh, kw, C, Cout]; those of audio have frequency first.
"""

from typing import Callable

import flax.linen as nn
import jax.numpy as jnp

from avjax.nets.image.resnet import as_images
from avjax.nets.layers.batch_norm import batch_norm
from avjax.nets.layers.conv import Conv2D
from avjax.nets.layers.max_pool import max_pool
from avjax.types import Array

keras = batch_norm(epsilon=1e-3, momentum=0.99)


class VisionNet(nn.Module):
    """Frames [B, H, W, 3] in -1 ... 1 -> features [B, 8 * width]; paper: [B, 224, 224, 3].

    4,689,216 parameters and 10.3 GMACs at 224x224.  Also takes clips of one frame.  The
    modules are `conv1_1` ... `conv4_2` and their `..._norm`; the papers probe the output of
    `conv4_2` before normalization, and add 1e-5 of each kernel's square to the loss.
    `norm` as in `avid_convnet.AudioConvNet`.
    """

    width: int = 64
    dtype: str | jnp.dtype = jnp.float32
    norm: Callable = keras

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        # Reference: in the second layer, ReLU comes before the normalization.
        layers = Layers(self.width, (1, 2), self.dtype, self.norm, name="layers")
        return layers(as_images(x), train)


class AudioNet(nn.Module):
    """Log spectrograms [B, S, F] or [B, S, F, 1] -> [B, 8 * width]; paper: [B, 199, 257].

    4,688,064 parameters and 10.2 GMACs at 199x257.  Modules as in `Vision`.  Time comes first, as
    everywhere here: the source's kernels have their first two axes in the other order.
    """

    width: int = 64
    dtype: str | jnp.dtype = jnp.float32
    norm: Callable = keras

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        return Layers(self.width, (), self.dtype, self.norm, name="layers")(as_images(x), train)


class Layers(nn.Module):
    """[B, H, W, C] -> [B, 8 * width]; in the layer (group, number) `early` ReLU comes first."""

    width: int
    early: tuple[int, ...]
    dtype: str | jnp.dtype
    norm: Callable

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        for group in (1, 2, 3, 4):
            for i in (1, 2):
                name = f"conv{group}_{i}"
                x = Conv2D(self.width << (group - 1), (3, 3), dtype=self.dtype,
                           kernel_init=nn.initializers.he_normal(), use_bias=True,
                           bias_init=nn.initializers.zeros, name=name)(x)  # fmt: skip
                norm = self.norm(name=f"{name}_norm")
                x = norm(nn.relu(x), train) if (group, i) == self.early else nn.relu(norm(x, train))
            x = max_pool(x, (2, 2), (2, 2), ((0, 0), (0, 0))) if group < 4 else x
        return x.max((1, 2))
