"""Batch normalization (Ioffe & Szegedy 2015, https://arxiv.org/abs/1502.03167)."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from avjax.types import Array


def batch_norm(
    groups: int = 1, momentum: float = 0.9, epsilon: float = 1e-5
) -> Callable[..., nn.Module]:
    """Returns a `norm` for nets: batch normalization with the statistics of shares of a batch.

    Args:
      groups: number of shares, a divisor of the batch size.
      momentum: weight of the old running statistics.
      epsilon: added to the variance.
    """
    return functools.partial(BatchNorm, groups, momentum, epsilon)


class BatchNorm(nn.Module):
    """`x` [B, ..., C] with mean 0 and variance 1 per channel, scaled and shifted.

    Under `jit` the batch is the global one on any number of devices, so statistics are
    synchronized.  Papers often use the statistics of each GPU's share; `groups` splits the batch
    into so many shares.  `batch_stats` holds running means and, as in PyTorch, unbiased variances.
    """

    groups: int = 1
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: str | jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        c = x.shape[-1]
        mean = self.variable("batch_stats", "mean", jnp.zeros, (c,))
        var = self.variable("batch_stats", "var", jnp.ones, (c,))
        scale = self.param("scale", nn.initializers.ones, (c,))
        bias = self.param("bias", nn.initializers.zeros, (c,))
        dtype = x.dtype if self.dtype is None else jnp.dtype(self.dtype)
        if not train:
            rows = x.reshape(-1, c)
            y = _affine(rows, mean.value, var.value, scale, bias, self.epsilon)
            return y.astype(dtype).reshape(x.shape)

        if x.shape[0] % self.groups:
            raise ValueError(
                f"batch of {x.shape[0]} is not a multiple of groups={self.groups}: "
                "change batch_size or the groups of the batch normalization"
            )
        if self.groups == 1:
            rows = x.reshape(-1, c)
            y, m, v = _normalize(rows, scale, bias, self.epsilon)  # pyright: ignore (JAX's stubs)
        else:
            rows = x.reshape(self.groups, -1, c)
            one = functools.partial(_normalize, epsilon=self.epsilon)
            y, m, v = jax.vmap(one, in_axes=(0, None, None))(rows, scale, bias)
            m, v = m.mean(0), v.mean(0)
        if not self.is_initializing():
            n = rows.shape[-2]
            for running, now in ((mean, m), (var, v * (n / max(n - 1, 1)))):
                old = running.value
                running.value = old + (1 - self.momentum) * (now.astype(old.dtype) - old)
        return y.astype(dtype).reshape(x.shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _normalize(x, scale, bias, epsilon):
    """[M, C] normalized by itself; its mean and biased variance [C], in float32 at least.

    The gradient is written out: autodiff would keep float32 copies of a bfloat16 input
    for it.  No gradient flows through the mean and variance that are returned.
    """
    return _normalize_forward(x, scale, bias, epsilon)[0]


def _normalize_forward(x, scale, bias, epsilon):
    high = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = high.mean(0)
    # Around the mean: E[x^2] - E[x]^2 loses all digits of a small variance.
    var = jnp.square(high - mean[None]).mean(0)
    y = _affine(x, mean, var, scale, bias, epsilon)
    return (y.astype(x.dtype), mean, var), (x, mean, var, scale, bias)


def _normalize_backward(epsilon, saved, cotangents):
    x, mean, var, scale, bias = saved
    dy = cotangents[0].astype(mean.dtype)
    n, rstd = x.shape[0], lax.rsqrt(var + epsilon)
    centered = x.astype(mean.dtype) - mean[None]
    dbias, dscale = dy.sum(0), (dy * centered).sum(0) * rstd
    along = dscale * rstd / n  # How much of the input itself its gradient loses.
    dx = (dy - (dbias / n)[None] - centered * along[None]) * (scale * rstd)[None]
    return dx.astype(x.dtype), dscale.astype(scale.dtype), dbias.astype(bias.dtype)


_normalize.defvjp(_normalize_forward, _normalize_backward)


def _affine(x, mean, var, scale, bias, epsilon):
    """[M, C] less `mean`, divided by the deviation, scaled and shifted, not rounded."""
    a = lax.rsqrt(var + epsilon) * scale
    return (x.astype(mean.dtype) - mean[None]) * a[None] + bias[None]
