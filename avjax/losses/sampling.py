"""Which rows of a memory are the negatives of each query."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from avjax.types import Array


def sample_excluding(rng: Array, excluded: Array, size: Array, num_negatives: int) -> Array:
    """Uniform rows of a memory, without some.

    Args:
      rng: a key.
      excluded: int [B, P], ascending: rows that are not sampled.
      size: number of records; rows are of `range(size)`.
      num_negatives: K.

    Returns:
      int [B, K].
    """
    gaps = excluded - jnp.arange(excluded.shape[1])[None]
    rows = jax.random.randint(rng, (excluded.shape[0], num_negatives), 0, size - excluded.shape[1])
    return skip_excluded(gaps, rows)


def sample_uniform(rng: Array, excluded: Array, size: Array, num_negatives: int) -> Array:
    """`sample_excluding` that may include the rows of `excluded`."""
    return jax.random.randint(rng, (excluded.shape[0], num_negatives), 0, size)


def skip_excluded(gaps: Array, rows: Array) -> Array:
    """Maps rows int [B, K] of a range without holes to the range with holes at `gaps` [B, P]."""
    return rows + jax.vmap(lambda g, r: jnp.searchsorted(g, r, side="right"))(gaps, rows)


def sample_stratified(rng: Array, size: Array, num_negatives: int) -> Array:
    """Stratified sample int [num_negatives] of distinct rows of `range(size)`, randomly rotated."""
    turn, within = jax.random.split(rng)
    each, rest = size // num_negatives, size % num_negatives
    edges = jnp.arange(num_negatives + 1) * each + jnp.minimum(jnp.arange(num_negatives + 1), rest)
    rows = jax.random.randint(within, (num_negatives,), edges[:-1], edges[1:])
    return (rows + jax.random.randint(turn, (), 0, size)) % size


def sample_other_classes(
    rng: Array, label: Array, size: Array, own: Array, num_negatives: int
) -> Array:
    """Uniform rows of a memory whose class is not the query's, with replacement.

    Args:
      rng: a key.
      label: int [N], class of each row; -1 for unknown.
      size: number of records; rows are of `range(size)`.
      own: int [B], class of each query.
      num_negatives: K.

    Returns:
      int [B, K]; of all rows, if all are of the query's class.
    """
    padding = jnp.iinfo(label.dtype).max
    label = jnp.where(jnp.arange(len(label)) < size, label, padding)
    order = jnp.argsort(label)
    first, after = (jnp.searchsorted(label[order], own, side=side) for side in ("left", "right"))
    count = jnp.where(after - first < size, after - first, 0)  # A class is one run of `order`.
    number = jax.random.randint(rng, (len(own), num_negatives), 0, (size - count)[:, None])
    return order[number + jnp.where(number >= first[:, None], count[:, None], 0)]


def other_classes(label: Sequence[int] | np.ndarray) -> Callable[[Array, Array, Array, int], Array]:
    """Returns a sampler of a memory bank that samples rows of other classes.

    Args:
      label: int [N], class of each record; -1 for unknown, which no record shares.

    Returns:
      A function as `sample_excluding`; `excluded` has the record alone, [B, 1].
    """
    label = np.asarray(label, np.int32)
    own = np.where(label < 0, np.max(label, initial=0) + 1 + np.arange(len(label)), label)

    def sample(rng, excluded, size, num_negatives):
        classes = jnp.asarray(own, jnp.int32)
        return sample_other_classes(rng, classes, size, classes[excluded[:, 0]], num_negatives)

    return sample
