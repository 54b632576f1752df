"""An LSTM cell with weight normalization (Salimans & Kingma, https://arxiv.org/abs/1602.07868)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from avjax.types import Array


class WeightNormLSTM(nn.Module):
    """One step of an LSTM whose kernels are `scale * direction / |direction|`, per gate unit.

    ((h, c), x [B, D]) -> (h, c), each [B, width].  The gates are input, forget, cell, output; the
    parameters `{input, hidden}_direction` [D or width, 4 * width], `..._scale` [4 * width] and
    `..._bias`, 0 at the start.
    """

    width: int

    @nn.compact
    def __call__(self, carry: tuple[Array, Array], x: Array) -> tuple[Array, Array]:
        h, c = carry
        gates = self._affine("input", x) + self._affine("hidden", h)
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
        return nn.sigmoid(o) * jnp.tanh(c), c

    def _affine(self, name, x):
        bound = self.width**-0.5

        def within(key, shape, dtype=jnp.float32):
            return jax.random.uniform(key, shape, dtype, -bound, bound)

        direction = self.param(f"{name}_direction", within, (x.shape[-1], 4 * self.width))
        length = jnp.linalg.norm(direction, axis=0)
        scale = self.param(f"{name}_scale", lambda _: length)
        bias = self.param(f"{name}_bias", nn.initializers.zeros, (4 * self.width,))
        return x @ (direction * (scale / length)[None]) + bias[None]
