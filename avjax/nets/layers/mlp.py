"""Projection heads: features [B, H] -> embedding [B, D]."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from avjax.config import ranges
from avjax.nets.layers.conv import add_bias, uniform
from avjax.types import Array


class Linear(nn.Module):
    """An affine layer, by default with PyTorch's initialization."""

    width: int
    dtype: str | jnp.dtype | None = None
    kernel_init: nn.initializers.Initializer = uniform

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        ranges.check_integer("width", self.width, 1)
        bound = x.shape[-1] ** -0.5

        def within(key, shape, dtype=jnp.float32):
            return jax.random.uniform(key, shape, dtype, -bound, bound)

        w = self.param("kernel", self.kernel_init, (x.shape[-1], self.width))
        b = self.param("bias", within, (self.width,))
        x, w = promote_dtype(x, w, dtype=self.dtype)
        return add_bias(x @ w, b)


class Mlp(nn.Module):
    """Affine layers with ReLU in between; AVID's are (512, 512, 128)."""

    widths: tuple[int, ...]
    dtype: str | jnp.dtype | None = None
    kernel_init: nn.initializers.Initializer = uniform

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        for i, width in enumerate(self.widths):
            x = nn.relu(x) if i else x
            x = Linear(width, self.dtype, self.kernel_init, name=f"linear{i + 1}")(x, train)
        return x
