"""k-means of rows on the devices: a k-means++ start, then Lloyd's iterations.

Written for one device and the global array.  Under `jit` on a mesh, with the rows split over
"data", each device works on its own rows: what travels are centers, sums of k rows, and a number
a row where rows are drawn.  Beside the rows [N, H], memory is N x `block`: centers, not rows, are
taken in blocks, for a block of rows would lie on one device.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from avjax.ops.blockwise import product


class Clusters(NamedTuple):
    """labels int32 [N], -1 for a row that does not count; centers [k, H]; the mean squared
    distance of a row from its center; and the number of Lloyd's iterations."""

    labels: jax.Array
    centers: jax.Array
    inertia: jax.Array
    steps: jax.Array


def fit(rng, x, mask, k: int, most=100, tolerance=1e-4, tries=None, block=256) -> Clusters:
    """k clusters of the rows of x [N, H] where mask [N] is True.

    most, tolerance: see `lloyd`; tries: see `start`; block: centers at a time.
    """
    if not 0 < k <= len(x):
        raise ValueError(f"{k} clusters of {len(x)} rows: have at least 1, at most as many as rows")
    x = jnp.where(mask[:, None], x, 0)
    # Distances do not change with the origin, but near their middle they lose no digits.
    middle = x.sum(0) / jnp.maximum(mask.sum(), 1)
    x = jnp.where(mask[:, None], x - middle[None], 0)
    rng_start, rng_fill = jax.random.split(rng)
    found = lloyd(rng_fill, x, mask, start(rng_start, x, mask, k, tries), most, tolerance, block)
    return found._replace(centers=found.centers + middle[None])


def start(rng, x, mask, k: int, tries: int | None = None):
    """k rows [k, H], drawn one after the other as their squared distance from those before.

    Of `tries` draws the one that leaves the least distance is kept; 2 + ln k of them unless
    told.  The distance to the nearest center is kept along, so that all of it costs `tries`
    iterations of Lloyd's.  Arthur and Vassilvitskii, SODA 2007.
    """
    tries = min(len(x), tries or 2 + int(math.log(k)))
    first = x[draw(rng, jnp.ones(len(x), x.dtype), mask, 1)]
    near = jnp.where(mask, _squares(x, first)[:, 0], 0)

    def grow(i, carry):
        centers, near = carry
        rows = x[draw(jax.random.fold_in(rng, i), near, mask, tries)]
        left = jnp.minimum(near[:, None], _squares(x, rows))
        best = jnp.argmin(left.sum(0))
        return centers.at[i].set(rows[best]), left[:, best]

    centers = jnp.zeros((k, x.shape[1]), x.dtype).at[0].set(first[0])
    return lax.fori_loop(1, k, grow, (centers, near))[0]


def draw(rng, weights, mask, count: int):
    """int32 [count] different rows where mask [N] is True, each as likely as its weight.

    Exact, without a running sum over devices: the first to arrive of exponential times.
    """
    bits = jax.random.bits(rng, weights.shape, jnp.uint32)
    # A row's bits depend on its number alone: padding and devices change no draw.
    late = jnp.minimum((bits.astype(jnp.float32) + 0.5) * 2.0**-32, 1 - 2.0**-24)
    rates = jnp.maximum(weights, jnp.finfo(weights.dtype).tiny)
    early = jnp.log(rates) - jnp.log(-jnp.log1p(-late))
    return lax.top_k(jnp.where(mask, early, -jnp.inf), count)[1]


def lloyd(rng, x, mask, centers, most: int, tolerance: float, block: int = 256) -> Clusters:
    """Moves centers [k, H] until the inertia falls by less than this share of it, or `most` times.

    A cluster without rows begins anew at a row drawn as in `start`.  Of what one may do, this
    cannot raise the inertia, needs no distance by which to part a split cluster's halves, and
    favors large clusters, where the farthest rows are outliers that would be alone.
    """
    k, count = len(centers), jnp.maximum(mask.sum(), 1)

    def step(carry):
        n, centers, _, before, _ = carry
        labels, squares = assign(x, mask, centers, block)
        sizes, sums = totals(x, labels, k, block)
        empty = sizes == 0
        moved = jnp.where(empty[:, None], centers, sums / jnp.maximum(sizes, 1)[:, None])

        def filled():
            rows = x[draw(jax.random.fold_in(rng, n), squares, mask, k)]
            return jnp.where(empty[:, None], rows[jnp.cumsum(empty) - 1], moved)

        moved = lax.cond(empty.any(), filled, lambda: moved)
        return n + 1, moved, empty.any(), squares.sum() / count, before

    def going(carry):
        n, _, filled, now, before = carry
        return (n < most) & ((n == 0) | filled | (now < (1 - tolerance) * before))

    zero, no, far = jnp.zeros((), jnp.int32), jnp.zeros((), bool), jnp.full((), jnp.inf, x.dtype)
    n, centers, *_ = lax.while_loop(going, step, (zero, centers, no, far, far))
    labels, squares = assign(x, mask, centers, block)
    return Clusters(labels, centers, squares.sum() / count, n)


def assign(x, mask, centers, block: int = 256):
    """(label [N] of the nearest center, squared distance [N]); -1 and 0 where mask is False."""
    parts = _blocks(len(centers), block)
    padded = jnp.pad(centers, ((0, parts.size - len(centers)), (0, 0)))
    away = jnp.where(parts < len(centers), 0.0, jnp.inf)  # Padding is nobody's center.

    def visit(best, part):
        rows, away, centers = part
        squares = _squares(x, centers) + away[None]
        nearest = jnp.argmin(squares, 1)
        found = rows[nearest], jnp.min(squares, 1)
        return jax.tree.map(lambda a, b: jnp.where(found[1] < best[1], a, b), found, best), None

    none = jnp.full(len(x), -1, jnp.int32), jnp.full(len(x), jnp.inf, x.dtype)
    each = parts, away, padded.reshape(*parts.shape, -1)
    labels, squares = lax.scan(visit, none, each)[0]
    return jnp.where(mask, labels, -1), jnp.where(mask, squares, 0)


def totals(x, labels, k: int, block: int = 256):
    """(sizes int32 [k], sums [k, H]) of the rows of each label.

    By products with zeros and ones: unlike scattered additions, in the same order each time.
    """

    def visit(_, part):
        own = labels[:, None] == part[None]
        return None, (own.sum(0), product(own.T.astype(x.dtype), x))

    sizes, sums = lax.scan(visit, None, _blocks(k, block))[1]
    return sizes.reshape(-1)[:k], sums.reshape(-1, x.shape[1])[:k]


def agreement(a, b, k: int):
    """Normalized mutual information of labels [N] and [N] in 0 ... k - 1, from 0 to 1.

    Over the mean of their entropies; rows where one is -1 do not count.
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
    """int32 [blocks, at most `block`]: the numbers of the centers, and of some padding."""
    count = -(-k // block)
    size = -(-k // count)
    return jnp.arange(count * size, dtype=jnp.int32).reshape(count, size)


def _squares(x, centers):
    """Squared distances [N, k] of x [N, H] from centers [k, H]."""
    lengths = (x * x).sum(1)[:, None] + (centers * centers).sum(1)[None]
    return jnp.maximum(lengths - 2 * product(x, centers.T), 0)
