"""Normalizations that are independent of other examples, so a batch may be split into chunks.

Each function returns a `norm` for nets: a factory of modules (x, train) -> x.
"""

import functools
import math
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from avjax.types import Array


def group_norm(groups: int = 32) -> Callable[..., nn.Module]:
    """Group normalization, Wu and He, ECCV 2018, https://arxiv.org/abs/1803.08494.

    Args:
      groups: groups of channels; fewer where they do not divide the channels.
    """
    return functools.partial(GroupNorm, groups)


def frozen_batch_norm(epsilon: float = 1e-5) -> Callable[..., nn.Module]:
    """Batch normalization with loaded running statistics that never change.

    Args:
      epsilon: added to the variance.
    """
    return functools.partial(FrozenBatchNorm, epsilon)


class GroupNorm(nn.Module):
    """`x` [B, ..., C] with mean 0 and variance 1 in each example's groups of channels."""

    groups: int

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        return nn.GroupNorm(math.gcd(self.groups, x.shape[-1]), dtype=x.dtype, name="group")(x)


class FrozenBatchNorm(nn.Module):
    """`x` [B, ..., C]; parameters and statistics have the names of `batch_norm.BatchNorm`."""

    epsilon: float

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        c = x.shape[-1]
        mean = self.variable("batch_stats", "mean", jnp.zeros, (c,)).value
        var = self.variable("batch_stats", "var", jnp.ones, (c,)).value
        scale = self.param("scale", nn.initializers.ones, (c,)) * lax.rsqrt(var + self.epsilon)
        bias = self.param("bias", nn.initializers.zeros, (c,)) - mean * scale
        scale, bias = (jnp.expand_dims(v, range(x.ndim - 1)) for v in (scale, bias))
        return (x * scale + bias).astype(x.dtype)
