"""Multisensory's net: frames and waveform fused early, to classify whether they match.

Owens and Efros, ECCV 2018, https://arxiv.org/abs/1804.03641; layers as in its program,
https://github.com/andrewowens/multisensory.
"""

from typing import Callable

import flax.linen as nn
import jax.numpy as jnp

from avjax.nets.frontends.pixels import Normalize
from avjax.nets.frontends.spectrogram import MuLaw
from avjax.nets.layers.adaptive_pool import adaptive_max_pool
from avjax.nets.layers.batch_norm import batch_norm
from avjax.nets.layers.conv import Conv3D, same_padding
from avjax.nets.layers.max_pool import max_pool
from avjax.nets.layers.mlp import Linear
from avjax.types import Array

he = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
ONE, THREE = (1, 1, 1), (3, 3, 3)


class Fused(nn.Module):
    """A clip with each of its S audio tracks -> {"features" [B, S, 8 * width], "logit" [B, S]}.

    Takes "video" uint8 [B, T, H, W, 3] and "sounds" int16 [B, S, N] or [B, S, N, C]; the paper
    has 125 frames of 224 and 87,588 stereo samples.  Frames are processed once for any S.
    36,048,961 parameters with stereo audio, 2,485,504 of them of audio before the fusion.  GMACs
    of a clip and one audio track: 175, and 89 for each other track; of 32 frames 44.8.

        audio                                    frames
        65 /4, width; max 4 /4                   5x7x7 /2, width; max 1x3x3 /(1,2,2)
        blocks of 15: 2, 2, 4 width, each /4     blocks of 3x3x3: width; width /2
        pooled to the frames' times; 3, 2 width
        concatenated at every position; 1x1x1: 8 width, 2 width, around a shortcut
        blocks of 3x3x3: 2, 2; 4 /2, 4; 8 /(1,2,2), 8 width; mean; one logit

    The modules are `sound_*`, `conv1` ... `conv2x_1`, `merge`, `conv3x_0` ... `conv5x_1`, `logit`.
    """

    width: int = 64
    dtype: str | jnp.dtype = jnp.float32
    # Reference: its running means move 1/30 as fast, and the frames' are renormalized
    # (https://arxiv.org/abs/1702.03275).
    # Paper: normalization has no scale, which the next convolution could undo; here it has one.
    norm: Callable = batch_norm(epsilon=1e-3, momentum=0.99)

    @nn.compact
    def __call__(self, batch, train: bool):
        sounds, w, how = batch["sounds"], self.width, (self.dtype, self.norm)
        b, s = sounds.shape[:2]
        half = (0.5, 0.5, 0.5)
        v = Normalize(half, half, self.dtype)(batch["video"], train)
        v = Unit(w, (5, 7, 7), (2, 2, 2), *how, name="conv1")(v, train)
        v = max_pool(v, (1, 3, 3), (1, 2, 2), same_padding(v.shape[1:-1], (1, 3, 3), (1, 2, 2)))
        v = Block(w, THREE, ONE, *how, name="conv2x_0")(v, train)
        v = Block(w, THREE, (2, 2, 2), *how, name="conv2x_1")(v, train)
        a = MuLaw()(sounds.reshape(b * s, *sounds.shape[2:]), train)
        a = AudioStem(w, *how, name="sound")(a, train)
        # Reference: samples the borders (https://arxiv.org/abs/1412.6071); here they are even.
        a = adaptive_max_pool(a, (v.shape[1], 1, 1))
        a = Unit(2 * w, (3, 1, 1), ONE, *how, name="sound_last")(a, train)
        x = Merge(*how, name="merge")(jnp.repeat(v, s, axis=0), a, train)
        for stage, strides in ((3, ONE), (4, (2, 2, 2)), (5, (1, 2, 2))):
            for i in range(2):
                block = Block(w << stage - 2, THREE, ONE if i else strides, *how,
                              name=f"conv{stage}x_{i}")  # fmt: skip
                x = block(x, train)
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32)).mean((1, 2, 3))
        logit = Linear(1, name="logit")(x, train)
        return {"features": x.reshape(b, s, -1), "logit": logit.reshape(b, s)}


class AudioStem(nn.Module):
    """[B, N, 1, C] -> [B, N / 1024, 1, 1, 4 * width]."""

    width: int
    dtype: str | jnp.dtype
    norm: Callable

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        how = self.dtype, self.norm
        x = x[:, :, None].astype(self.dtype)
        x = Unit(self.width, (65, 1, 1), (4, 1, 1), *how, name="conv1")(x, train)
        x = max_pool(x, (4, 1, 1), (4, 1, 1), ((0, 0),) * 3)
        for i, times in enumerate((2, 2, 4)):
            block = Block(times * self.width, (15, 1, 1), (4, 1, 1), *how, name=f"conv{i + 2}x_0")
            x = block(x, train)
        return x


class Merge(nn.Module):
    """Frames [B, T, H, W, C] and audio [B, T, 1, 1, 2 * C] -> [B, T, H, W, 2 * C]."""

    dtype: str | jnp.dtype
    norm: Callable

    @nn.compact
    def __call__(self, v, a, train: bool):
        width = v.shape[-1]
        x = jnp.concatenate([v, jnp.broadcast_to(a, (*v.shape[:-1], a.shape[-1]))], -1)
        shortcut = jnp.concatenate([x[..., :width], x[..., -width:]], -1)
        x = Unit(8 * width, ONE, ONE, self.dtype, self.norm, name="conv1")(x, train)
        x = Conv3D(2 * width, ONE, dtype=self.dtype, kernel_init=he, name="conv2")(x)
        return nn.relu(self.norm(name="norm")(x + shortcut, train))


class Unit(nn.Module):
    """A convolution, its normalization and a ReLU."""

    features: int
    kernel: tuple[int, int, int]
    strides: tuple[int, int, int]
    dtype: str | jnp.dtype
    norm: Callable

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        pads = same_padding(x.shape[1:-1], self.kernel, self.strides)
        x = Conv3D(self.features, self.kernel, self.strides, pads, self.dtype, he, name="conv")(x)
        return nn.relu(self.norm(name="norm")(x, train))


class Block(nn.Module):
    """Two convolutions around a shortcut, normalized after the sum."""

    features: int
    kernel: tuple[int, int, int]
    strides: tuple[int, int, int]
    dtype: str | jnp.dtype
    norm: Callable

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        def conv(name, x, kernel, strides):
            pads = same_padding(x.shape[1:-1], kernel, strides)
            return Conv3D(self.features, kernel, strides, pads, self.dtype, he, name=name)(x)

        st, sh, sw = self.strides
        shortcut = x[:, ::st, ::sh, ::sw]
        if x.shape[-1] != self.features:
            shortcut = self.norm(name="shortcut_norm")(conv("shortcut", shortcut, ONE, ONE), train)
        x = nn.relu(
            self.norm(name="conv1_norm")(conv("conv1", x, self.kernel, self.strides), train)
        )
        # Reference: this convolution has a bias, which the normalization takes away again.
        return nn.relu(self.norm(name="norm")(conv("conv2", x, self.kernel, ONE) + shortcut, train))
