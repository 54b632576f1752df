"""All pairs of the rows of a batch, one row after the other: memory O(B^2), not O(B^2 D)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from avjax.types import Array, Tree


def squared_distances(x: Array) -> Array:
    """Squared Euclidean distances of all pairs of rows: float [B, D] -> [B, B].

    Each is a sum of squared differences, so that equal rows have distance 0 exactly.
    """
    return map_rows(lambda row: jnp.square(x - row[None]).sum(1), x)


def map_rows(fn: Callable, rows: Tree) -> Array:
    """Applies `fn` to each row in turn; its intermediate results are recomputed for gradients.

    Args:
      fn: a row, or the same row of each array of a tree -> array.
      rows: array [B, ...], or a tree of them.

    Returns:
      The results, [B, ...].
    """
    return jax.lax.map(jax.checkpoint(fn), rows)
