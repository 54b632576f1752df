"""Normalizations that look at no other example, so that a batch may be split into chunks.

Each function gives what the `norm` of a net wants: a class of modules (x, train) -> x.
"""

import functools
import math

import flax.linen as nn
import jax.numpy as jnp
from jax import lax


def group(groups: int = 32):
    """Each example by itself, its channels in `groups`.

    Wu and He, ECCV 2018, https://arxiv.org/abs/1803.08494.  Fewer groups where they do not
    divide the channels.
    """
    return functools.partial(Group, groups)


def frozen(epsilon: float = 1e-5):
    """Batch normalization with the running statistics that were loaded; they never change."""
    return functools.partial(Frozen, epsilon)


class Group(nn.Module):
    """`x` [B, ..., C] with mean 0 and variance 1 in each example's groups of channels."""

    groups: int

    @nn.compact
    def __call__(self, x, train: bool):
        return nn.GroupNorm(math.gcd(self.groups, x.shape[-1]), dtype=x.dtype, name="group")(x)


class Frozen(nn.Module):
    """`x` [B, ..., C]; parameters and statistics bear the names of `batch_norm.BatchNorm`."""

    epsilon: float

    @nn.compact
    def __call__(self, x, train: bool):
        c = x.shape[-1]
        mean = self.variable("batch_stats", "mean", jnp.zeros, (c,)).value
        var = self.variable("batch_stats", "var", jnp.ones, (c,)).value
        scale = self.param("scale", nn.initializers.ones, (c,)) * lax.rsqrt(var + self.epsilon)
        bias = self.param("bias", nn.initializers.zeros, (c,)) - mean * scale
        scale, bias = (jnp.expand_dims(v, range(x.ndim - 1)) for v in (scale, bias))
        return (x * scale + bias).astype(x.dtype)
