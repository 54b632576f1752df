"""Bytes of a device, by kind, from shapes alone."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from avjax.runtime import gathering
from avjax.types import Tree


def bytes_per_device(tree: Tree) -> int:
    """Returns the bytes of a device's share of arrays.

    Args:
      tree: shapes with shardings, as of `sharding.abstract_tree`.
    """
    return sum(map(_leaf_bytes, jax.tree.leaves(tree)))


def gathered_bytes(tree: Tree) -> int:
    """Returns the bytes of the whole arrays of those that a step gathers, see `gathering`.

    Args:
      tree: as of `bytes_per_device`.
    """
    return sum(_leaf_bytes(leaf, True) for leaf in jax.tree.leaves(tree) if _is_gathered(leaf))


def gradient_bytes(params: Tree) -> int:
    """Returns the bytes of the gradients on a device before they are split.

    Args:
      params: as of `bytes_per_device`.
    """
    return sum(_leaf_bytes(leaf, _is_gathered(leaf)) for leaf in jax.tree.leaves(params))


def _is_gathered(leaf):
    place = getattr(leaf, "sharding", None)
    return place is not None and gathering.is_gathered(place)


def _leaf_bytes(leaf, whole=False):
    place = getattr(leaf, "sharding", None)
    shape = place.shard_shape(leaf.shape) if place and not whole else leaf.shape
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        words = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0)))
        return math.prod(shape) * words.size * words.dtype.itemsize
    return math.prod(shape) * leaf.dtype.itemsize


def saved_for_backward(
    loss: Callable, params: Tree, state: Tree, rows: Callable[[int], Tree], count: int
) -> tuple[float, float]:
    """Returns bytes per example of what a backward pass needs of the forward pass.

    Traced, not compiled: an array that the compiler recomputes or never writes counts too.

    Args:
      loss: (params, state, batch, rng) -> (loss, more).
      params: shapes.
      state: shapes.
      rows: number of examples -> shapes of a batch.
      count: examples of the smaller of the two batches that are compared.

    Returns:
      (all arrays together, the largest array).
    """

    def saved(batch):
        # The key is abstract too: nothing can run on devices that do not exist.
        key = jax.eval_shape(lambda: jax.random.key(0))
        back = lambda p, s, b, rng: jax.vjp(lambda q: loss(q, s, b, rng)[0], p)[1]
        found = jax.tree.leaves(jax.eval_shape(back, params, state, batch, key))
        sizes = [_leaf_bytes(leaf) for leaf in found if hasattr(leaf, "shape")]
        return sum(sizes), max(sizes)

    (low, _), (high, largest) = saved(rows(count)), saved(rows(2 * count))
    # The parameters are among them, in both.
    return (high - low) / count, largest / (2 * count)


def largest_fitting(need: Callable[[int], float], capacity: float, step: int, most: int) -> int:
    """Returns the largest multiple of `step` whose need fits; 0 if none does.

    Args:
      need: batch -> bytes, which grow with it.
      capacity: bytes.
      step: of batches.
      most: an upper bound.
    """
    low, high = 0, most // step
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if need(middle * step) <= capacity else (low, middle - 1)
    return low * step
