"""The 2-D convolution of the nets whose convolutions have a bias."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from avjax.nets.layers import conv


class Conv2D(nn.Module):
    """`conv.Conv2D` and a bias [Cout], by default with PyTorch's initial values for both."""

    features: int
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    pads: tuple | None = None
    dtype: str | jnp.dtype | None = None
    kernel_init: nn.initializers.Initializer = conv.uniform
    bias_init: nn.initializers.Initializer | None = None

    @nn.compact
    def __call__(self, x):
        shape = (*self.kernel, x.shape[-1], self.features)
        bound = (shape[0] * shape[1] * shape[2]) ** -0.5

        def within(key, shape, dtype=jnp.float32):
            return jax.random.uniform(key, shape, dtype, -bound, bound)

        w = self.param("kernel", self.kernel_init, shape)
        b = self.param("bias", self.bias_init or within, (self.features,))
        x, w, b = nn.dtypes.promote_dtype(x, w, b, dtype=self.dtype)
        pads = tuple((k // 2, k // 2) for k in self.kernel) if self.pads is None else self.pads
        return conv.conv2d(x, w, self.strides, pads) + b[None, None, None]
