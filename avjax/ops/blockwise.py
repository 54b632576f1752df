"""Contrastive losses of a batch against itself in tiles, without the [B, B] scores in memory.

A contrastive loss needs one total per row (a query against the other keys) and one per column (a
key against the other queries).  Both come from one pass over the tiles, both gradients from a
second one: four products of B x B x D for forward and backward of both directions, O(B) memory.

With `axis`, each device of a mesh holds its share of the batch, and the keys travel around the
ring of devices with their totals and gradients (as in ring attention, Liu et al., 2023,
https://arxiv.org/abs/2310.01889; for InfoNCE Cheng et al., 2024,
https://arxiv.org/abs/2410.17243, with ten products).
"""

import functools
from typing import Callable, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P

from avjax.ops.scores import acc_dtype, band_offset, negative_mask, positive_scores, precise_einsum
from avjax.types import Array, ContrastiveLoss


class Statics(NamedTuple):
    """Static arguments of the compiled program."""

    accumulate: Callable
    merge: Callable
    score_grad: Callable
    num_negatives: int | None
    tile: int
    size: int  # B.
    axis: str | tuple[str, ...] | None


class Blocks(NamedTuple):
    """Queries or keys in blocks, [n, t, D] and [n, t]; padded slots are -1."""

    z: Array
    index: Array
    slot: Array
    positive: Array


def reduce_scores(
    query: Array,
    key: Array,
    index: Array,
    rng: Array,
    loss_fn: ContrastiveLoss,
    num_negatives: int | None = None,
    tile: int = 1024,
    axis: str | tuple[str, ...] | None = None,
) -> tuple[Array, Array]:
    """Totals of each query over the other keys, and of each key over the other queries.

    Args:
      query: float [B, D], divided by the temperature.
      key: float [B, D].
      index: int [B], record of each row.
      rng: a key.
      loss_fn: the loss whose `accumulate` makes the totals.
      num_negatives: as in `scores.negative_mask`.
      tile: maximum number of rows and of columns of scores in memory.
      axis: mesh axis, or axes, over which the batch is split; None for one device.

    Returns:
      (totals of the queries [B], totals of the keys [B]), or tuples, as `accumulate` makes them.

    Raises:
      ValueError: the current mesh has no such axis, or num_negatives is not below B.
    """
    size = query.shape[0]
    statics = Statics(
        loss_fn.accumulate, loss_fn.merge, loss_fn.score_grad, num_negatives, tile, size, axis
    )
    positive = lax.stop_gradient(positive_scores(query, key, loss_fn.bias))
    slot = jnp.arange(size, dtype=jnp.int32)
    bias = jnp.asarray(loss_fn.bias, acc_dtype(query))
    first = band_offset(rng, size, num_negatives)
    return _reduce_scores(statics, query, key, bias, index, slot, positive, first)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _reduce_scores(statics, query, key, bias, index, slot, positive, first):
    return _forward(statics, query, key, bias, index, slot, positive, first)[0]


def _forward(statics, *arrays):
    split = P(statics.axis)
    reduce = functools.partial(_reduce_shard, statics)
    out = _shard(reduce, statics.axis, _array_specs(statics.axis), (split, split))(*arrays)
    return out, (arrays, out)


def _backward(statics, saved, slopes):
    arrays, out = saved
    split = P(statics.axis)
    ins = (*_array_specs(statics.axis), split, split, split, split)
    grad = functools.partial(_grad_shard, statics)
    grad = _shard(grad, statics.axis, ins, (split, split, P()))
    along = [x[0] if isinstance(x, tuple) else x for x in (*out, *slopes)]
    query, key, bias = grad(*arrays, *along)
    return query, key, bias, None, None, None, None


_reduce_scores.defvjp(_forward, _backward)


def _array_specs(axis):
    """Shardings of query, key, bias, index, slot, positive and first."""
    return P(axis), P(axis), P(), P(axis), P(axis), P(axis), P()


def _shard(fn, axis, in_specs, out_specs):
    """`fn` on each device's share of its arguments; `fn` itself without an axis."""
    if axis is None:
        return fn
    axes = (axis,) if isinstance(axis, str) else axis
    if not set(axes) <= set(jax.sharding.get_abstract_mesh().axis_names):
        raise ValueError(f"axis={axis!r}: no mesh with this axis; call within jax.set_mesh(mesh)")
    return jax.shard_map(fn, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def _reduce_shard(statics, query, key, bias, index, slot, positive, first):
    """Totals of the queries and of the keys of one device."""
    rows, columns = (_make_blocks(statics, z, index, slot, positive) for z in (query, key))

    def visit(row, column, right, below):
        (row,), (column,) = row, column
        s, mask = _score_tile(statics, row, column, bias, first)
        right = statics.merge(right, statics.accumulate(s, mask, row.positive))
        return right, statics.merge(below, statics.accumulate(s, mask, column.positive, 0))

    nothing = _empty_total(statics, rows.positive)
    out = _ring_sweep(statics, (rows,), (columns,), nothing, nothing, visit, first)
    return tuple(jax.tree.map(lambda x: _from_blocks(x, len(query)), total) for total in out)


def _grad_shard(statics, query, key, bias, index, slot, positive, first, *along):
    """Gradients of one device's queries and keys and of the bias, from those of the totals."""
    rows, columns = (_make_blocks(statics, z, index, slot, positive) for z in (query, key))
    right, below, *slopes = (_to_blocks(statics, x) for x in along)

    def visit(row, column, gradients, dk):
        (row, total, slope), (column, other, pull), (dq, db) = row, column, gradients
        s, mask = _score_tile(statics, row, column, bias, first)
        g = slope[:, None] * statics.score_grad(s, total[:, None], row.positive[:, None])
        h = pull[None] * statics.score_grad(s, other[None], column.positive[None])
        g = jnp.where(mask, g + h, 0.0)
        low = g.astype(row.z.dtype)
        return (dq + precise_einsum(low, column.z), db + g.sum()), dk + precise_einsum(low.T, row.z)

    zeros = jnp.zeros(rows.z.shape, acc_dtype(query))
    rows, columns = (rows, right, slopes[0]), (columns, below, slopes[1])
    start = zeros, jnp.zeros(len(zeros), zeros.dtype)
    (dq, db), dk = _ring_sweep(statics, rows, columns, start, zeros, visit, first)
    db = db.sum() if statics.axis is None else lax.psum(db.sum(), statics.axis)
    return (
        _from_blocks(dq, len(query)).astype(query.dtype),
        _from_blocks(dk, len(key)).astype(key.dtype),
        db,
    )


def _ring_sweep(statics, rows, columns, right, below, visit, first):
    """Visits each pair of blocks: `right` accumulates along rows, `below` down columns.

    Rows stay; columns, and what is accumulated below them, go once around the ring.
    """

    def down(carry, row):
        columns, below = carry
        row, right = row

        def across(right, column):
            column, below = column
            if statics.num_negatives is None:
                return visit(row, column, right, below)
            met = _overlaps_band(statics, row[0].slot, column[0].slot, first)
            return lax.cond(met, visit, lambda r, c, *sums: sums, row, column, right, below)

        right, below = lax.scan(across, right, (columns, below))
        return (columns, below), right

    def hop(carry, _):
        columns, right, below = carry
        (_, below), right = lax.scan(down, (columns, below), (rows, right))
        return (_rotate(statics, columns), right, _rotate(statics, below)), None

    hops = 1 if statics.axis is None else lax.axis_size(statics.axis)
    (_, right, below), _ = lax.scan(hop, (columns, right, below), length=hops)
    return right, below


def _overlaps_band(statics, query_slots, key_slots, first):
    """Whether any two slots of two blocks lie within the band of `negative_mask`."""
    t = query_slots.shape[0]
    farthest = (key_slots[0] - query_slots[0] + t - 2 - first) % statics.size
    return farthest <= statics.num_negatives + 2 * t - 2


def _rotate(statics, tree):
    """Sends a tree to the previous device and receives that of the next one."""
    if statics.axis is None:
        return tree
    n = lax.axis_size(statics.axis)
    return lax.ppermute(tree, statics.axis, [(i, (i - 1) % n) for i in range(n)])


def _score_tile(statics, row, column, bias, first):
    """Scores [t, t] and the mask of those that count."""
    slots = row.slot, column.slot
    mask = negative_mask(row.index, column.index, slots, statics.size, statics.num_negatives, first)
    return precise_einsum(row.z, column.z.T) + bias, mask


def _make_blocks(statics, z, index, slot, positive):
    blocks = functools.partial(_to_blocks, statics)
    return Blocks(blocks(z), blocks(index), blocks(slot, -1), blocks(positive))


def _to_blocks(statics, x, fill=0):
    """[b, ...] -> [n, t, ...]: even blocks of at most `statics.tile` rows."""
    n = -(-len(x) // statics.tile)
    t = -(-len(x) // n)
    pads = ((0, n * t - len(x)), *((0, 0),) * (x.ndim - 1))
    return jnp.pad(x, pads, constant_values=fill).reshape(n, t, *x.shape[1:])


def _from_blocks(x, b):
    return x.reshape(-1, *x.shape[2:])[:b]


def _empty_total(statics, positive):
    """The total over no keys, for each of `positive` [n, t]."""
    none = jnp.zeros((positive.size, 1), positive.dtype)
    total = statics.accumulate(none, none > 0, positive.reshape(-1))
    return jax.tree.map(lambda x: x.reshape(*positive.shape, *x.shape[1:]), total)
