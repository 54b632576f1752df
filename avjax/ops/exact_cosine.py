"""Cosines that do not depend on the order of summation: fixed-point numbers, exact products.

A float32 product of two matrices changes in its last digits with the shape of a block, the device
and the order of rows, and so may a rank.  Here rows of unit length are rounded to multiples of
2^-21.  Each coordinate is split into a high part (at most 2^11) and a low part (at most 2^9), so
that every partial sum of a float32 product is an integer of at most 2^24: exact in any order, on
any device.  The rounding changes a cosine by about 2e-7, as much as that of a float32 product.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax

from avjax.ops.scores import precise_einsum
from avjax.types import Array

ONE = 2**29  # The score of cosine 1.
LOWEST = -(2**30)  # Below every score: marks pairs that do not count.
SCALE = 2**21  # Of a coordinate.
LOW_BITS = 10
COLUMNS = 64  # Per product: sqrt(64) * 2^11 * 2^9 and 64 * 2^18 are at most 2^24.
MAX_WIDTH = 2**16  # Up to this width no sum overflows int32.


def fixed_point(x: np.ndarray) -> np.ndarray:
    """Scales rows to unit length and rounds them to multiples of 2^-21.

    Args:
      x: float [N, D]; rows of zeros stay zeros.

    Returns:
      int32 [N, D], multiples of 2^-21.

    Raises:
      ValueError: D is above 65,536.
    """
    if x.shape[1] > MAX_WIDTH:
        raise ValueError(f"rows of width {x.shape[1]}: exact cosines take up to {MAX_WIDTH}")
    wide = np.asarray(x, np.float64)
    length = np.sqrt(np.square(wide).sum(axis=1, keepdims=True))
    return np.rint(wide / np.maximum(length, 1e-12) * SCALE).astype(np.int32)


def exact_scores(query: Array, key: Array) -> Array:
    """Computes the cosines of all pairs of rows, exact for these rows and rounded down once.

    Args:
      query, key: int32 [Q, D] and [K, D], as of `fixed_point`.

    Returns:
      int32 [Q, K], multiples of 2^-29.
    """

    def visit(sums, columns):
        high, mixed, low = sums
        (query_high, query_low), (key_high, key_low) = columns
        low += _product(query_low, key_low)
        mixed += _product(query_high, key_low) + _product(query_low, key_high) + (low >> LOW_BITS)
        return (high + _product(query_high, key_high), mixed, low & ((1 << LOW_BITS) - 1)), None

    zeros = jnp.zeros((len(query), len(key)), jnp.int32)
    (high, mixed, _), _ = lax.scan(visit, (zeros,) * 3, (_parts(query), _parts(key)))
    # The floor of (high * 2^20 + mixed * 2^10 + low) / 2^13.
    return (high << 7) + (mixed >> 3)


def _parts(x):
    """(high, low) float32 [D / COLUMNS, N, COLUMNS] with x = high * 2^10 + low."""
    x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % COLUMNS)))
    x = jnp.moveaxis(x.reshape(len(x), -1, COLUMNS), 1, 0)
    high = (x + (1 << (LOW_BITS - 1))) >> LOW_BITS
    return high.astype(jnp.float32), (x - (high << LOW_BITS)).astype(jnp.float32)


def _product(a, b):
    """The product [Q, K] of integers [Q, COLUMNS] and [K, COLUMNS]."""
    return precise_einsum(a, b, "qd,kd->qk").astype(jnp.int32)


def top_k(scores: Array, k: int) -> tuple[Array, Array]:
    """Returns the k highest scores of each row, highest first, and their positions.

    Args:
      scores: int32 [Q, K], as of `exact_scores`, or LOWEST.
      k: at most K.

    Returns:
      (int32 [Q, k], int32 [Q, k]).
    """
    # Positive integers are ordered as the floats of the same bits, of which XLA sorts only some.
    bits = lax.bitcast_convert_type(scores - LOWEST, jnp.float32)
    found, places = lax.top_k(bits, k)
    return lax.bitcast_convert_type(found, jnp.int32) + LOWEST, places
