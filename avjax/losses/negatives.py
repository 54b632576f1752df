"""Sources of negatives (`types.Negatives`); a config selects one."""

import functools
from typing import Callable

import jax
import jax.numpy as jnp
from jax import lax

from avjax.config import ranges
from avjax.losses import pairs
from avjax.ops import blockwise
from avjax.ops.normalize import l2_normalize
from avjax.types import ContrastiveLoss, Negatives


def in_batch(num_negatives: int | None = None) -> Negatives:
    """The other examples of the global batch, all scores at once; keys get gradients.

    Written for one device.  Under `jit` on a mesh the compiler gathers the keys and returns their
    gradients with the right scale.

    Args:
      num_negatives: exactly this many of the others, uniformly; None for all.
    """
    _check_args(num_negatives)

    def symmetric_loss(query, key, index, rng, loss_fn: ContrastiveLoss):
        slots = jnp.arange(len(query))
        first = blockwise.band_offset(rng, len(query), num_negatives)
        mask = blockwise.negative_mask(
            index, index, (slots, slots), len(query), num_negatives, first
        )
        positive = blockwise.positive_scores(query, key, loss_fn.bias)
        scores = blockwise.precise_einsum(query, key.T) + loss_fn.bias
        sides = (scores, mask), (scores.T, mask.T)
        return tuple(loss_fn.finalize(positive, loss_fn.accumulate(*s, positive)) for s in sides)

    return _batch_negatives(symmetric_loss, num_negatives)


def tiled(num_negatives: int | None = None, tile: int = 1024) -> Negatives:
    """`in_batch` on one device with O(B) instead of O(B^2) memory; exact.

    On several devices use `ring`, which shares the work.

    Args:
      num_negatives: as in `in_batch`.
      tile: maximum number of rows and of columns of scores in memory.
    """
    _check_args(num_negatives, tile)
    return _tiled_negatives(num_negatives=num_negatives, tile=tile)


def ring(num_negatives: int | None = None, tile: int = 1024, axis: str = "data") -> Negatives:
    """`tiled`, split over devices: keys, not scores, travel from each device to the next.

    Args (others as in `tiled`):
      axis: mesh axis over which the batch is split.
    """
    _check_args(num_negatives, tile)
    return _tiled_negatives(num_negatives=num_negatives, tile=tile, axis=axis)


def _tiled_negatives(**how) -> Negatives:
    def symmetric_loss(query, key, index, rng, loss_fn: ContrastiveLoss):
        positive = blockwise.positive_scores(query, key, loss_fn.bias)
        totals = blockwise.reduce_scores(query, key, index, rng, loss_fn, **how)
        return tuple(loss_fn.finalize(positive, total) for total in totals)

    return _batch_negatives(symmetric_loss, how["num_negatives"])


def _check_args(num_negatives, tile=1):
    if num_negatives is not None:
        ranges.check_integer("num_negatives", num_negatives, 1)
    ranges.check_integer("tile", tile, 1)


def _batch_negatives(symmetric_loss, num_negatives) -> Negatives:
    """Negatives without a memory."""

    def both(query, key, index, rng, loss_fn):
        pairs.check_other_records(len(query))
        return symmetric_loss(query, key, index, rng, loss_fn)

    def loss(memory, query, key, index, rng, loss_fn):
        return both(query, key, index, rng, loss_fn)[0]

    keep = lambda memory, key, index: memory
    return Negatives(lambda rng, size, dim: (), loss, keep, both, num_negatives)


def memory_bank(
    num_negatives: int, momentum: float = 0.5, sampler: Callable | None = None
) -> Negatives:
    """A memory with one row per record, of which each query samples its own negatives.

    Positives are rows too.  The memory is read before it is updated; only queries get gradients.

    Args:
      num_negatives: rows per query.
      momentum: share of the old row in an update.
      sampler: (rng, index [B, 1], size, num_negatives) -> rows [B, num_negatives].  None is
        `sample_excluding`, as in AVID (https://arxiv.org/abs/2004.12943); `sample_uniform` is that
        of Wu et al., CVPR 2018, https://arxiv.org/abs/1805.01978.
    """
    sampler = sampler or sample_excluding
    _check_args(num_negatives)
    ranges.check_number("momentum", momentum, minimum=0, below=1)

    def loss(memory, query, key, index, rng, loss_fn: ContrastiveLoss):
        del key  # Keys are rows of the memory.
        rows = sampler(rng, index[:, None], memory["size"], num_negatives)
        return loss_against_memory(memory["rows"], query, index, rows, loss_fn)

    return Negatives(
        _init_memory, loss, functools.partial(_update_memory, momentum), num_negatives=num_negatives
    )


def memory_bank_shared(num_negatives: int, momentum: float = 0.5) -> Negatives:
    """`memory_bank` where all queries of a batch share distinct negatives: one matrix product.

    Of num_negatives + 1 rows each query excludes its own, or the last one if its own was not
    sampled.

    Args:
      num_negatives, momentum: as in `memory_bank`.
    """
    _check_args(num_negatives)
    ranges.check_number("momentum", momentum, minimum=0, below=1)

    def loss(memory, query, key, index, rng, loss_fn: ContrastiveLoss):
        del key
        sampled = sample_stratified(rng, memory["size"], num_negatives + 1)
        own = sampled[None] == index[:, None]
        last = jnp.arange(num_negatives + 1)[None] == num_negatives
        mask = ~jnp.where(own.any(1, keepdims=True), own, last)
        rows = memory["rows"]
        positive = blockwise.positive_scores(query, rows[index], loss_fn.bias)
        scores = blockwise.precise_einsum(query, rows[sampled].T) + loss_fn.bias
        return loss_fn.finalize(positive, loss_fn.accumulate(scores, mask, positive))

    def init(rng, size, dim):
        if num_negatives >= size:
            raise ValueError(
                f"num_negatives={num_negatives} of {size} records: use at most {size - 1}"
            )
        return _init_memory(rng, size, dim)

    return Negatives(
        init, loss, functools.partial(_update_memory, momentum), num_negatives=num_negatives
    )


def queue(queue_size: int, num_negatives: int | None = None) -> Negatives:
    """First-in, first-out queue of the latest keys of earlier batches; keys get no gradients.

    He et al., CVPR 2020, https://arxiv.org/abs/1911.05722.

    Args:
      queue_size: number of keys, at least the batch size.
      num_negatives: so many of them, the same for all queries of a batch; None for all.
    """
    ranges.check_integer("queue_size", queue_size, 1)
    if num_negatives is not None and not 0 < num_negatives <= queue_size:
        raise ValueError(
            f"num_negatives={num_negatives} of a queue of {queue_size}: use 1 to {queue_size}"
        )

    def init(rng, size, dim):
        keys = l2_normalize(jax.random.normal(rng, (queue_size, dim)))
        return {"keys": keys, "head": jnp.zeros((), jnp.int32)}

    def loss(memory, query, key, index, rng, loss_fn: ContrastiveLoss):
        positive = blockwise.positive_scores(query, lax.stop_gradient(key), loss_fn.bias)
        keys = memory["keys"]
        if num_negatives is not None:
            keys = keys[
                (jax.random.randint(rng, (), 0, queue_size) + jnp.arange(num_negatives))
                % queue_size
            ]
        scores = blockwise.precise_einsum(query, keys.T) + loss_fn.bias
        total = loss_fn.accumulate(scores, jnp.ones_like(scores, bool), positive)
        return loss_fn.finalize(positive, total)

    def update(memory, key, index):
        if len(key) > queue_size:
            raise ValueError(f"queue_size={queue_size} is less than the batch of {len(key)}")
        places = (memory["head"] + jnp.arange(len(key))) % queue_size
        keys = memory["keys"].at[places].set(lax.stop_gradient(key), unique_indices=True)
        return {"keys": keys, "head": (memory["head"] + len(key)) % queue_size}

    return Negatives(init, loss, update, num_negatives=num_negatives or queue_size)


def loss_against_memory(memory, query, index, negative_rows, loss_fn: ContrastiveLoss):
    """Loss [B] of queries against rows of a memory.

    Args:
      memory: float [N, D].
      query: float [B, D], divided by the temperature.
      index: int [B], rows of the positives; [B, P] with `contrastive.multi_positive`.
      negative_rows: int [B, K], rows of the negatives.
      loss_fn: the loss.
    """
    positive, scores = (
        blockwise.precise_einsum(query, memory[x], "bd,b...d->b...") + loss_fn.bias
        for x in (index, negative_rows)
    )
    return loss_fn.finalize(
        positive, loss_fn.accumulate(scores, jnp.ones_like(negative_rows, bool), positive)
    )


def sample_excluding(rng, excluded, size, num_negatives: int):
    """Uniform rows [B, num_negatives] of `range(size)`, none of `excluded` [B, P], sorted lines."""
    gaps = excluded - jnp.arange(excluded.shape[1])[None]
    rows = jax.random.randint(rng, (excluded.shape[0], num_negatives), 0, size - excluded.shape[1])
    return skip_excluded(gaps, rows)


def sample_uniform(rng, excluded, size, num_negatives: int):
    """Uniform rows [B, num_negatives] of `range(size)`; may include those of `excluded` [B, P]."""
    return jax.random.randint(rng, (excluded.shape[0], num_negatives), 0, size)


def skip_excluded(gaps, rows):
    """Maps rows of a range without holes to the range with holes at `gaps` [B, P]."""
    return rows + jax.vmap(lambda g, r: jnp.searchsorted(g, r, side="right"))(gaps, rows)


def sample_stratified(rng, size, num_negatives: int):
    """Stratified sample [num_negatives] of distinct rows of `range(size)`, randomly rotated."""
    turn, within = jax.random.split(rng)
    each, rest = size // num_negatives, size % num_negatives
    edges = jnp.arange(num_negatives + 1) * each + jnp.minimum(jnp.arange(num_negatives + 1), rest)
    rows = jax.random.randint(within, (num_negatives,), edges[:-1], edges[1:])
    return (rows + jax.random.randint(turn, (), 0, size)) % size


# The rows of a memory are a multiple of this, so that 2, 4, ... 1024 devices can share them.
ROW_MULTIPLE = 1024


def _init_memory(rng, size, dim):
    if size < 2:
        raise ValueError(f"a memory bank requires 2 records or more, not {size}")
    rows = jax.random.normal(rng, (-(-size // ROW_MULTIPLE) * ROW_MULTIPLE, dim))
    return {"rows": l2_normalize(rows), "size": jnp.full((), size, jnp.int32)}


def _update_memory(momentum, memory, key, index):
    """The updated memory; for a record that occurs twice in a batch, its last example counts."""
    later = jnp.triu(index[:, None] == index[None], k=1).any(axis=1)
    rows = memory["rows"]
    moved = l2_normalize(momentum * rows[index] + (1 - momentum) * lax.stop_gradient(key))
    places = jnp.where(later, len(rows), index)
    return memory | {"rows": rows.at[places].set(moved, mode="drop")}
