"""Adaptive pooling: any map to a fixed number of positions, as PyTorch defines it.

Of N positions along an axis, output i of M covers floor(i N / M) up to ceil((i + 1) N / M).
"""

import jax
import jax.numpy as jnp
import numpy as np

from avjax.config import ranges
from avjax.types import Array


def adaptive_max_pool(x: Array, sizes: tuple[int, ...]) -> Array:
    """Takes the maximum of each window.

    Args:
      x: [B, N1, ..., C] with as many positional axes as `sizes`.
      sizes: positions to keep along each axis; more than there are repeats some.

    Returns:
      [B, *sizes, C].

    Raises:
      ValueError: the map has another number of axes, or a size is below 1.
    """
    for axis, (length, size) in enumerate(_pairs(x, sizes), 1):
        first, last = _bounds(length, size)
        taps = first[:, None] + np.arange((last - first).max())
        x = jnp.take(x, np.minimum(taps, last[:, None] - 1), axis=axis).max(axis + 1)
    return x


def adaptive_average_pool(x: Array, sizes: tuple[int, ...]) -> Array:
    """Takes the mean of each window, in float32 at least.

    Args and errors: as of `adaptive_max_pool`.

    Returns:
      [B, *sizes, C].
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    for axis, (length, size) in enumerate(_pairs(x, sizes), 1):
        first, last = _bounds(length, size)
        at = np.arange(length)
        inside = (first[:, None] <= at) & (at < last[:, None])
        weights = jnp.asarray(inside / (last - first)[:, None], x.dtype)
        pooled = jnp.tensordot(x, weights, (axis, 1), precision=jax.lax.Precision.HIGHEST)
        x = jnp.moveaxis(pooled, -1, axis)
    return x


def _pairs(x, sizes):
    """[(positions, positions to keep)] of each axis."""
    if x.ndim != len(sizes) + 2:
        raise ValueError(
            f"sizes={tuple(sizes)} for a map of shape {x.shape}: give {x.ndim - 2} sizes, for all "
            "axes but the first and the last"
        )
    for size in sizes:
        ranges.check_integer("sizes", size, 1)
    return list(zip(x.shape[1:-1], sizes))


def _bounds(length, size):
    """(first [size], end [size]) of the windows along an axis."""
    i = np.arange(size)
    return i * length // size, -(-(i + 1) * length // size)
