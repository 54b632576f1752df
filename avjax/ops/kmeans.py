"""k-means on the devices: k-means++ initialization, then Lloyd's iterations.

Written for one device and the global array.  Under `jit` on a mesh with the rows split over its
devices, each device works on its own rows; only centers, sums of k rows, and one number per row
where rows are sampled are communicated.  Memory beside the rows [N, H] is N x `block`: centers, not
rows, are processed in blocks, as a block of rows would lie on one device.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from avjax.ops.scores import precise_einsum
from avjax.types import Array


class Clusters(NamedTuple):
    """Result of k-means.

    Attributes:
      labels: int32 [N], -1 for rows that do not count.
      centers: float [k, H].
      inertia: mean squared distance of a row from its center.
      n_iter: number of Lloyd's iterations.
    """

    labels: Array
    centers: Array
    inertia: Array
    n_iter: Array


def fit(
    rng: Array,
    x: Array,
    mask: Array,
    k: int,
    max_iter: int = 100,
    tolerance: float = 1e-4,
    n_trials: int | None = None,
    block: int = 256,
) -> Clusters:
    """Clusters the rows of a matrix.

    Args:
      rng: a key.
      x: float [N, H].
      mask: bool [N], the rows that count.
      k: number of clusters, at most N.
      max_iter, tolerance: see `lloyd`.
      n_trials: see `kmeans_plus_plus`.
      block: centers at a time.

    Returns:
      Clusters.
    """
    if not 0 < k <= len(x):
        raise ValueError(f"{k} clusters of {len(x)} rows: use 1 to {len(x)} clusters")
    x = jnp.where(mask[:, None], x, 0)
    # Distances do not depend on the origin; near the mean of the rows they lose no digits.
    middle = x.sum(0) / jnp.maximum(mask.sum(), 1)
    x = jnp.where(mask[:, None], x - middle[None], 0)
    rng_start, rng_fill = jax.random.split(rng)
    found = lloyd(
        rng_fill,
        x,
        mask,
        kmeans_plus_plus(rng_start, x, mask, k, n_trials),
        max_iter,
        tolerance,
        block,
    )
    return found._replace(centers=found.centers + middle[None])


def kmeans_plus_plus(
    rng: Array, x: Array, mask: Array, k: int, n_trials: int | None = None
) -> Array:
    """k-means++: rows [k, H], each sampled in proportion to the squared distance from those before.

    Arthur and Vassilvitskii, SODA 2007.  The distance to the nearest center is updated
    incrementally, so the cost is that of `n_trials` iterations of Lloyd's.

    Args:
      rng: a key.
      x, mask: as in `fit`.
      k: number of rows.
      n_trials: candidates per row, of which the best is kept; None for 2 + ln k.
    """
    n_trials = min(len(x), n_trials or 2 + int(math.log(k)))
    first = x[sample_rows(rng, jnp.ones(len(x), x.dtype), mask, 1)]
    near = jnp.where(mask, _squared_distances(x, first)[:, 0], 0)

    def grow(i, carry):
        centers, near = carry
        rows = x[sample_rows(jax.random.fold_in(rng, i), near, mask, n_trials)]
        left = jnp.minimum(near[:, None], _squared_distances(x, rows))
        best = jnp.argmin(left.sum(0))
        return centers.at[i].set(rows[best]), left[:, best]

    centers = jnp.zeros((k, x.shape[1]), x.dtype).at[0].set(first[0])
    return lax.fori_loop(1, k, grow, (centers, near))[0]


def sample_rows(rng: Array, weights: Array, mask: Array, count: int) -> Array:
    """Samples distinct rows in proportion to their weights, exactly.

    Needs no running sum over devices: the first arrivals of exponential times.

    Args:
      rng: a key.
      weights: float [N].
      mask: bool [N], the rows that count.
      count: rows to sample.

    Returns:
      int32 [count].
    """
    bits = jax.random.bits(rng, weights.shape, jnp.uint32)
    # A row's bits depend on its index only: padding and devices change no sample.
    late = jnp.minimum((bits.astype(jnp.float32) + 0.5) * 2.0**-32, 1 - 2.0**-24)
    rates = jnp.maximum(weights, jnp.finfo(weights.dtype).tiny)
    early = jnp.log(rates) - jnp.log(-jnp.log1p(-late))
    return lax.top_k(jnp.where(mask, early, -jnp.inf), count)[1]


def lloyd(
    rng: Array,
    x: Array,
    mask: Array,
    centers: Array,
    max_iter: int,
    tolerance: float,
    block: int = 256,
) -> Clusters:
    """Lloyd's iterations until the inertia falls by less than a share of it.

    An empty cluster restarts at a row sampled as in `kmeans_plus_plus`.  This never raises the
    inertia, needs no distance to split a cluster by, and favors large clusters (the farthest rows
    are outliers).

    Args:
      rng: a key.
      x, mask: as in `fit`.
      centers: float [k, H].
      max_iter: maximum number of iterations.
      tolerance: the share.
      block: centers at a time.
    """
    k, count = len(centers), jnp.maximum(mask.sum(), 1)

    def step(carry):
        n, centers, _, before, _ = carry
        labels, squares = assign(x, mask, centers, block)
        sizes, sums = cluster_sums(x, labels, k, block)
        empty = sizes == 0
        moved = jnp.where(empty[:, None], centers, sums / jnp.maximum(sizes, 1)[:, None])

        def filled():
            rows = x[sample_rows(jax.random.fold_in(rng, n), squares, mask, k)]
            return jnp.where(empty[:, None], rows[jnp.cumsum(empty) - 1], moved)

        moved = lax.cond(empty.any(), filled, lambda: moved)
        return n + 1, moved, empty.any(), squares.sum() / count, before

    def going(carry):
        n, _, filled, now, before = carry
        return (n < max_iter) & ((n == 0) | filled | (now < (1 - tolerance) * before))

    zero, no, far = jnp.zeros((), jnp.int32), jnp.zeros((), bool), jnp.full((), jnp.inf, x.dtype)
    n, centers, *_ = lax.while_loop(going, step, (zero, centers, no, far, far))
    labels, squares = assign(x, mask, centers, block)
    return Clusters(labels, centers, squares.sum() / count, n)


def assign(x: Array, mask: Array, centers: Array, block: int = 256) -> tuple[Array, Array]:
    """Assigns each row to its nearest center.

    Args:
      x: float [N, H].
      mask: bool [N], the rows that count.
      centers: float [k, H].
      block: maximum number of centers compared at a time.

    Returns:
      (label int32 [N], squared distance [N]); -1 and 0 where mask is False.
    """
    parts = _blocks(len(centers), block)
    padded = jnp.pad(centers, ((0, parts.size - len(centers)), (0, 0)))
    away = jnp.where(parts < len(centers), 0.0, jnp.inf)  # Padding is never nearest.

    def visit(best, part):
        rows, away, centers = part
        squares = _squared_distances(x, centers) + away[None]
        nearest = jnp.argmin(squares, 1)
        found = rows[nearest], jnp.min(squares, 1)
        return jax.tree.map(lambda a, b: jnp.where(found[1] < best[1], a, b), found, best), None

    none = jnp.full(len(x), -1, jnp.int32), jnp.full(len(x), jnp.inf, x.dtype)
    each = parts, away, padded.reshape(*parts.shape, -1)
    labels, squares = lax.scan(visit, none, each)[0]
    return jnp.where(mask, labels, -1), jnp.where(mask, squares, 0)


def cluster_sums(x: Array, labels: Array, k: int, block: int = 256) -> tuple[Array, Array]:
    """(sizes int32 [k], sums [k, H]) of the rows of each label.

    Computed by products with zeros and ones, which unlike scattered additions have a fixed order.

    Args:
      x: float [N, H].
      labels: int32 [N]; -1 for rows that do not count.
      k: number of clusters.
      block: maximum number of clusters at a time.
    """

    def visit(_, part):
        own = labels[:, None] == part[None]
        return None, (own.sum(0), precise_einsum(own.T.astype(x.dtype), x))

    sizes, sums = lax.scan(visit, None, _blocks(k, block))[1]
    return sizes.reshape(-1)[:k], sums.reshape(-1, x.shape[1])[:k]


def normalized_mutual_info(a: Array, b: Array, k: int) -> Array:
    """Normalized mutual information of two labelings, from 0 to 1.

    Normalized by the mean entropy; rows where either label is -1 do not count.

    Args:
      a, b: int [N], labels in 0 ... k - 1.
      k: number of labels.
    """
    place = jnp.where((a >= 0) & (b >= 0), a * k + b, k * k)
    joint = jnp.zeros(k * k + 1, jnp.int32).at[place].add(1)[:-1].reshape(k, k)
    share = joint / jnp.maximum(joint.sum(), 1)
    both, first, second = (_entropy(p) for p in (share, share.sum(1), share.sum(0)))
    mean = (first + second) / 2
    return jnp.where(mean > 0, (2 * mean - both) / jnp.maximum(mean, 1e-12), 0.0)


def _entropy(share):
    return jax.scipy.special.entr(share).sum()


def _blocks(k, block):
    """int32 [blocks, at most `block`]: indices of the centers, and padding."""
    count = -(-k // block)
    size = -(-k // count)
    return jnp.arange(count * size, dtype=jnp.int32).reshape(count, size)


def _squared_distances(x, centers):
    """Squared distances [N, k] of x [N, H] from centers [k, H]."""
    lengths = (x * x).sum(1)[:, None] + (centers * centers).sum(1)[None]
    return jnp.maximum(lengths - 2 * precise_einsum(x, centers.T), 0)
