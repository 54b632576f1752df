"""A batch against itself without its [B, B] scores: one small tile of them at a time.

What a contrastive loss needs of the scores of a batch is a total a row (a query against
the other keys) and a total a column (a key against the other queries).  Both come from
one pass over the tiles, and both gradients from a second one: four products of B x B x D
in all, for the forward and the backward pass of both directions, and memory in O(B).

With `axis` each device of a mesh holds its share of the batch; the keys travel around
the ring of devices and their totals and gradients with them (as ring attention does, Liu
et al., 2023, https://arxiv.org/abs/2310.01889; for InfoNCE Cheng et al., 2024,
https://arxiv.org/abs/2410.17243, with ten products).
"""

import functools
from typing import Callable, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P

from avjax.types import Array, Contrast


class Plan(NamedTuple):
    """What does not change while a program runs."""

    fold: Callable
    merge: Callable
    slope: Callable
    draws: int | None
    tile: int
    size: int  # B.
    axis: str | None


class Side(NamedTuple):
    """The queries or the keys, in blocks: [n, t, D] and [n, t]; a padded slot is -1."""

    z: Array
    index: Array
    slot: Array
    positive: Array


def totals(query, key, index, rng, contrast: Contrast, draws=None, tile=1024, axis=None):
    """The totals [B] of each query over the other keys, and of each key over the other queries.

    Arguments as those of `Negatives.reduce`, `others` says which keys are others.
    tile: the most rows and columns of scores that are held at once.
    axis: of the mesh over which the batch is split, or None on one device.
    """
    size = query.shape[0]
    plan = Plan(contrast.fold, contrast.merge, contrast.slope, draws, tile, size, axis)
    positive = lax.stop_gradient(scores(query, key, contrast.bias))
    slot = jnp.arange(size, dtype=jnp.int32)
    return _totals(
        plan, query, key, jnp.asarray(contrast.bias, _wide(query)), index, slot, positive,
        offset(rng, size, draws),
    )  # fmt: skip


def scores(query, key, bias):
    """The score [B] of each query with its own key."""
    return jnp.sum(query.astype(_wide(query)) * key.astype(_wide(key)), axis=1) + bias


def _wide(x):
    return jnp.promote_types(x.dtype, jnp.float32)


def offset(rng, size, draws):
    """Where the band of `draws` of the other keys begins: even, so that each is as likely."""
    if draws is None:
        return jnp.zeros((), jnp.int32)
    if not 0 < draws < size:
        raise ValueError(
            f"draws={draws} of a batch of {size}, which has {size - 1} others: "
            "use fewer draws or a larger batch"
        )
    return jax.random.randint(rng, (), 0, size - 1)


def others(rows, columns, slots, size, draws, first):
    """mask [R, C]: which columns are negatives of which rows.

    rows, columns: their `index`; two clips of one video are no negatives of each other.
    slots: their places in the batch, [R] and [C].  With `draws`, of the size - 1 other
    places only so many in turn, counted from the row's own place on, after `first`.
    """
    mask = rows[:, None] != columns[None]
    mask &= (slots[0] >= 0)[:, None] & (slots[1] >= 0)[None]
    if draws is None:
        return mask
    ahead = slots[1][None] - slots[0][:, None] - 1
    ahead = jnp.where(ahead < 0, ahead + size, ahead)  # In [0, size - 2], and one's own last.
    turn = ahead - first
    turn = jnp.where(turn < 0, turn + size - 1, turn)
    return mask & (turn < draws) & (ahead < size - 1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _totals(plan, query, key, bias, index, slot, positive, first):
    return _forward(plan, query, key, bias, index, slot, positive, first)[0]


def _forward(plan, *arrays):
    out = _spread(functools.partial(_sum, plan), plan.axis, 7, "BB")(*arrays)
    return out, (arrays, out)


def _backward(plan, saved, slopes):
    arrays, out = saved
    pull = _spread(functools.partial(_pull, plan), plan.axis, 11, "BB1")
    query, key, bias = pull(*arrays, *out, *slopes)
    return query, key, bias, None, None, None, None


_totals.defvjp(_forward, _backward)


def _spread(fn, axis, count, outs):
    """`fn` on each device's share; its third and seventh argument are scalars."""
    if axis is None:
        return fn
    if axis not in jax.sharding.get_abstract_mesh().axis_names:
        raise ValueError(f"no mesh with an axis {axis!r}: call it within jax.set_mesh(mesh)")
    ins = tuple(P() if i in (2, 6) else P(axis) for i in range(count))
    outs = tuple(P(axis) if o == "B" else P() for o in outs)
    return jax.shard_map(fn, in_specs=ins, out_specs=outs, check_vma=False)


def _sum(plan, query, key, bias, index, slot, positive, first):
    """The totals of a device's queries and of its keys."""
    rows, columns = (_side(plan, z, index, slot, positive) for z in (query, key))

    def visit(row, column, right, below):
        (row,), (column,) = row, column
        s, mask = _tile(plan, row, column, bias, first)
        right = plan.merge(right, plan.fold(s, mask, row.positive))
        return right, plan.merge(below, plan.fold(s.T, mask.T, column.positive))

    nothing = _nothing(plan, rows.positive)
    out = _sweep(plan, (rows,), (columns,), nothing, nothing, visit, first)
    return tuple(_flat(total, len(query)) for total in out)


def _pull(plan, query, key, bias, index, slot, positive, first, *along):
    """The gradients of a device's queries and keys and of the bias, from those of the totals."""
    rows, columns = (_side(plan, z, index, slot, positive) for z in (query, key))
    right, below, *slopes = (_blocks(plan, x) for x in along)

    def visit(row, column, gradients, dk):
        (row, total, slope), (column, other, pull), (dq, db) = row, column, gradients
        s, mask = _tile(plan, row, column, bias, first)
        g = slope[:, None] * plan.slope(s, total[:, None])
        g = jnp.where(mask, g + pull[None] * plan.slope(s, other[None]), 0.0)
        low = g.astype(row.z.dtype)
        return (dq + product(low, column.z), db + g.sum()), dk + product(low.T, row.z)

    zeros = jnp.zeros(rows.z.shape, _wide(query))
    rows, columns = (rows, right, slopes[0]), (columns, below, slopes[1])
    start = zeros, jnp.zeros(len(zeros), zeros.dtype)
    (dq, db), dk = _sweep(plan, rows, columns, start, zeros, visit, first)
    db = db.sum() if plan.axis is None else lax.psum(db.sum(), plan.axis)
    return _flat(dq, len(query)).astype(query.dtype), _flat(dk, len(key)).astype(key.dtype), db


def _sweep(plan, rows, columns, right, below, visit, first):
    """`visit`s each pair of blocks: `right` gathers along the rows, `below` down the columns.

    The rows stay; the columns, and what is gathered below them, go once around the ring.
    Of both the first is a Side.
    """

    def down(carry, row):
        columns, below = carry
        row, right = row

        def across(right, column):
            column, below = column
            if plan.draws is None:
                return visit(row, column, right, below)
            met = _met(plan, row[0].slot, column[0].slot, first)
            return lax.cond(met, visit, lambda r, c, *sums: sums, row, column, right, below)

        right, below = lax.scan(across, right, (columns, below))
        return (columns, below), right

    def hop(carry, _):
        columns, right, below = carry
        (_, below), right = lax.scan(down, (columns, below), (rows, right))
        return (_pass_on(plan, columns), right, _pass_on(plan, below)), None

    hops = 1 if plan.axis is None else lax.axis_size(plan.axis)
    (_, right, below), _ = lax.scan(hop, (columns, right, below), length=hops)
    return right, below


def _met(plan, here, there, first):
    """Whether any of two blocks' slots are neighbors within the band of `others`."""
    t = here.shape[0]
    farthest = (there[0] - here[0] + t - 2 - first) % plan.size
    return farthest <= plan.draws + 2 * t - 2


def _pass_on(plan, tree):
    """To the device before, from the one after."""
    if plan.axis is None:
        return tree
    n = lax.axis_size(plan.axis)
    return lax.ppermute(tree, plan.axis, [(i, (i - 1) % n) for i in range(n)])


def _tile(plan, row, column, bias, first):
    """Scores [t, t] and which of them count."""
    slots = row.slot, column.slot
    mask = others(row.index, column.index, slots, plan.size, plan.draws, first)
    return product(row.z, column.z.T) + bias, mask


def product(a, b, subscripts="ij,jk->ik"):
    """`jnp.einsum` of a and b for scores: all sources of negatives have the same precision.

    Sums are in float32 at least.  float32 is never rounded to TF32 on a GPU or to bfloat16 on a
    TPU, which is their default; the gradients are computed alike.
    """
    return jnp.einsum(
        subscripts, a, b, precision=lax.Precision.HIGHEST, preferred_element_type=_wide(a)
    )


def _side(plan, z, index, slot, positive):
    return Side(
        *(_blocks(plan, x) for x in (z, index)), _blocks(plan, slot, -1), _blocks(plan, positive)
    )


def _blocks(plan, x, fill=0):
    """[b, ...] -> [n, t, ...], even blocks of at most plan.tile."""
    n = -(-len(x) // plan.tile)
    t = -(-len(x) // n)
    pads = ((0, n * t - len(x)), *((0, 0),) * (x.ndim - 1))
    return jnp.pad(x, pads, constant_values=fill).reshape(n, t, *x.shape[1:])


def _flat(x, b):
    return x.reshape(-1, *x.shape[2:])[:b]


def _nothing(plan, positive):
    """The total over no keys at all, for each of `positive` [n, t]."""
    none = jnp.zeros((positive.size, 1), positive.dtype)
    total = plan.fold(none, none > 0, positive.reshape(-1))
    return total.reshape(*positive.shape, *total.shape[1:])
