"""VMZ's acoustic ResNet-18, the audio net of XDC.

Alwassel et al., NeurIPS 2020 (https://arxiv.org/abs/1911.12667); the net is that of
https://github.com/facebookresearch/VMZ/blob/main/c2/lib/models/audio_visual_model.py.
"""

from typing import Callable

import flax.linen as nn
import jax.numpy as jnp

from avjax.nets.image.resnet import Block, as_images
from avjax.nets.layers.batch_norm import batch_norm
from avjax.nets.layers.conv import Conv2D
from avjax.types import Array

glorot = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")


class AcousticResNet(nn.Module):
    """Spectrograms [B, S, F] or [B, S, F, 1] -> features [B, 8 * width]; paper: [B, 100, 40].

    11,202,528 parameters and 0.230 GMACs at 100 x 40.  `conv1` is only a convolution; the
    blocks `conv1x_0` ... `conv1x_2` stand for a larger stem, `conv2x_0` ... `conv5x_1` are a
    ResNet-18's, all stages at half of the resolution before.  XDC's having had exactly this
    net is inferred.  `norm` as in `avid_convnet.AudioConvNet`; VMZ's epsilon is 1e-3.
    """

    width: int = 64
    dtype: str | jnp.dtype = jnp.float32
    norm: Callable = batch_norm(epsilon=1e-3)

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        x = Conv2D(self.width // 4, (3, 3), dtype=self.dtype, kernel_init=glorot, use_bias=True,
                   bias_init=nn.initializers.zeros, name="conv1")(as_images(x))  # fmt: skip
        for stage, blocks in enumerate((3, 2, 2, 2, 2)):
            for i in range(blocks):
                features, stride = (self.width << stage) // 2, 1 if i else 2
                name = f"conv{stage + 1}x_{i}"
                x = Block(features, stride, self.dtype, self.norm, name=name)(x, train)
        # Reference: a maximum over (4, 2), which is all that is left of 100 x 40.
        return x.max((1, 2))
