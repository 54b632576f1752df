"""Batch normalization whose statistics leave padding out."""

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from avjax.types import Array


class MaskedBatchNorm(nn.Module):
    """`x` [B, N, C] with mean 0 and variance 1 per channel over the rows that count.

    Parameters, running statistics and evaluation are those of `batch_norm.BatchNorm`, also all of
    training if every row counts.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Array, counts: Array, train: bool) -> Array:
        """Normalizes.

        Args:
          x: float [B, N, C].
          counts: bool [B, N], False for rows that are normalized but do not count.
          train: whether to use and update batch statistics.
        """
        c = x.shape[-1]
        mean = self.variable("batch_stats", "mean", jnp.zeros, (c,))
        var = self.variable("batch_stats", "var", jnp.ones, (c,))
        scale = self.param("scale", nn.initializers.ones, (c,))
        bias = self.param("bias", nn.initializers.zeros, (c,))
        m, v = mean.value, var.value
        if train:
            weight = counts[..., None].astype(x.dtype)
            n = weight.sum()
            m = (x * weight).sum((0, 1)) / jnp.maximum(n, 1)
            v = (jnp.square(x - m[None, None]) * weight).sum((0, 1)) / jnp.maximum(n, 1)
            if not self.is_initializing():
                keep = jnp.where(n > 0, self.momentum, 1.0)
                unbiased = v * (n / jnp.maximum(n - 1, 1))
                for running, now in ((mean, m), (var, unbiased)):
                    running.value = running.value + (1 - keep) * (now - running.value)
        a = lax.rsqrt(v + self.epsilon) * scale
        return (x - m[None, None]) * a[None, None] + bias[None, None]
