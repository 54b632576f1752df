"""Batch normalization (Ioffe & Szegedy 2015, https://arxiv.org/abs/1502.03167)."""

import flax.linen as nn
import jax.numpy as jnp
from jax import lax


class BatchNorm(nn.Module):
    """`x` [B, ..., C] with mean 0 and variance 1 a channel, scaled and shifted.

    Under `jit` the batch is the global one, whatever the number of devices: the
    statistics are synchronized by themselves.  Papers trained with the statistics of
    each GPU's share of the batch; `groups` splits the batch into as many shares.
    `batch_stats` holds running means and, as in PyTorch, unbiased variances.
    """

    groups: int = 1
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: str | jnp.dtype | None = None

    @nn.compact
    def __call__(self, x, train: bool):
        c = x.shape[-1]
        mean = self.variable("batch_stats", "mean", jnp.zeros, (c,))
        var = self.variable("batch_stats", "var", jnp.ones, (c,))
        scale = self.param("scale", nn.initializers.ones, (c,))
        bias = self.param("bias", nn.initializers.zeros, (c,))
        dtype = x.dtype if self.dtype is None else jnp.dtype(self.dtype)
        if not train:
            return _affine(x, mean.value, var.value, scale, bias, self.epsilon, dtype)

        if x.shape[0] % self.groups:
            raise ValueError(
                f"batch of {x.shape[0]} is no multiple of groups={self.groups}: "
                "change batch_size or the groups of the batch normalization"
            )
        grouped = x.reshape(self.groups, -1, c)
        m, v = _moments(grouped)
        if not self.is_initializing():
            n = grouped.shape[1]
            for running, now in ((mean, m), (var, v * (n / max(n - 1, 1)))):
                now = lax.stop_gradient(now).mean((0, 1))
                old = running.value
                running.value = old + (1 - self.momentum) * (now - old).astype(old.dtype)
        y = _affine(grouped, m, v, scale, bias, self.epsilon, dtype)
        return y.reshape(x.shape)


def _moments(x):
    """Mean and biased variance [G, 1, C] of `x` [G, M, C], in float32 at least."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = x.mean(1, keepdims=True)
    return mean, jnp.square(x - mean).mean(1, keepdims=True)


def _affine(x, mean, var, scale, bias, epsilon, dtype):
    a = lax.rsqrt(var + epsilon) * _like(scale, var)
    b = _like(bias, var) - mean * a
    high = jnp.promote_types(x.dtype, a.dtype)
    return (x.astype(high) * _like(a, x) + _like(b, x)).astype(dtype)


def _like(a, x):
    """`a` [..., C] with as many axes as `x`."""
    return a.reshape((1,) * (x.ndim - a.ndim) + a.shape)
