"""Negatives from a memory bank: one row per training record."""

import functools
import operator
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from avjax.config import ranges
from avjax.losses import sampling
from avjax.ops import split_rows
from avjax.ops.normalize import l2_normalize
from avjax.ops.scores import positive_scores, precise_einsum
from avjax.types import Array, ContrastiveLoss, Negatives


def make(
    num_negatives: int,
    momentum: float = 0.5,
    sampler: Callable | None = None,
    axis: str | Sequence[str] | None = None,
) -> Negatives:
    """A memory with one row per record, of which each query samples its own negatives.

    Positives are rows too.  The memory is read before it is updated; only queries get gradients.

    Args:
      num_negatives: rows per query.
      momentum: share of the old row in an update.
      sampler: (rng, index [B, 1], size, num_negatives) -> rows [B, num_negatives].  None is
        `sampling.sample_excluding`, as in AVID (https://arxiv.org/abs/2004.12943);
        `sampling.sample_uniform` is that of Wu et al., CVPR 2018, https://arxiv.org/abs/1805.01978.
      axis: mesh axis, or axes, over which rows and batch are split: then only sampled rows travel.
        None leaves it to the compiler, which may gather the memory on each device.

    Returns:
      Negatives whose memory is {"rows": float [N, D], "size": int}; N is padded to a multiple of
      ROW_MULTIPLE.

    Raises:
      ValueError: an argument is out of its range; from `init`, fewer than two records.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from avjax.losses import contrastive, memory_bank
      >>> bank = memory_bank.make(num_negatives=5)
      >>> memory = bank.init(jax.random.key(0), size=100, dim=16)
      >>> z, index = jnp.eye(8, 16), jnp.arange(8)
      >>> bank.loss(memory, z, z, index, jax.random.key(1), contrastive.info_nce()).shape
      (8,)
      >>> memory = bank.update(memory, z, index)
    """
    sampler = sampler or sampling.sample_excluding
    ranges.check_integer("num_negatives", num_negatives, 1)
    ranges.check_number("momentum", momentum, minimum=0, below=1)
    take = operator.getitem
    if axis is not None:
        axes = axis if isinstance(axis, str) else tuple(axis)
        take = functools.partial(split_rows.take_rows, axis=axes)

    def loss(memory, query, key, index, rng, loss_fn: ContrastiveLoss):
        del key  # Keys are rows of the memory.
        rows = sampler(rng, index[:, None], memory["size"], num_negatives)
        return loss_against_memory(memory["rows"], query, index, rows, loss_fn, take)

    return Negatives(
        init_memory,
        loss,
        functools.partial(update_memory, momentum, take=take),
        num_negatives=num_negatives,
    )


def shared_negatives(num_negatives: int, momentum: float = 0.5) -> Negatives:
    """`make` where all queries of a batch share distinct negatives: one matrix product.

    Of num_negatives + 1 rows each query excludes its own, or the last one if its own was not
    sampled.

    Args:
      num_negatives, momentum: as in `make`.

    Returns:
      Negatives, as `make`; `init` requires more than num_negatives records.
    """
    ranges.check_integer("num_negatives", num_negatives, 1)
    ranges.check_number("momentum", momentum, minimum=0, below=1)

    def loss(memory, query, key, index, rng, loss_fn: ContrastiveLoss):
        del key
        sampled = sampling.sample_stratified(rng, memory["size"], num_negatives + 1)
        own = sampled[None] == index[:, None]
        last = jnp.arange(num_negatives + 1)[None] == num_negatives
        mask = ~jnp.where(own.any(1, keepdims=True), own, last)
        rows = memory["rows"]
        positive = positive_scores(query, rows[index], loss_fn.bias)
        scores = precise_einsum(query, rows[sampled].T) + loss_fn.bias
        return loss_fn.finalize(positive, loss_fn.accumulate(scores, mask, positive))

    def init(rng, size, dim):
        if num_negatives >= size:
            raise ValueError(
                f"num_negatives={num_negatives} of {size} records: use at most {size - 1}"
            )
        return init_memory(rng, size, dim)

    return Negatives(
        init,
        loss,
        functools.partial(update_memory, momentum),
        num_negatives=num_negatives,
    )


def loss_against_memory(
    memory: Array,
    query: Array,
    index: Array,
    negative_rows: Array,
    loss_fn: ContrastiveLoss,
    take: Callable = operator.getitem,
) -> Array:
    """Loss of queries against rows of a memory.

    Args:
      memory: float [N, D].
      query: float [B, D], divided by the temperature.
      index: int [B], rows of the positives; [B, P] with `contrastive.multi_positive`.
      negative_rows: int [B, K], rows of the negatives.
      loss_fn: the loss.
      take: (memory, rows) -> memory[rows].

    Returns:
      float [B].
    """
    positive, scores = (
        precise_einsum(query, take(memory, x), "bd,b...d->b...") + loss_fn.bias
        for x in (index, negative_rows)
    )
    return loss_fn.finalize(
        positive, loss_fn.accumulate(scores, jnp.ones_like(negative_rows, bool), positive)
    )


# The rows of a memory are a multiple of this, so that 2, 4, ... 1024 devices can share them.
ROW_MULTIPLE = 1024


def init_memory(rng: Array, size: int, dim: int) -> dict[str, Array]:
    """Random rows of unit length.

    Args:
      rng: a key.
      size: number of records.
      dim: width of the embeddings.

    Returns:
      {"rows": float32 [N, dim], "size": int32}; N is padded to a multiple of ROW_MULTIPLE.

    Raises:
      ValueError: fewer than two records.
    """
    if size < 2:
        raise ValueError(f"a memory bank requires 2 records or more, not {size}")
    rows = jax.random.normal(rng, (-(-size // ROW_MULTIPLE) * ROW_MULTIPLE, dim))
    return {"rows": l2_normalize(rows), "size": jnp.full((), size, jnp.int32)}


def update_memory(
    momentum: float,
    memory: dict[str, Array],
    key: Array,
    index: Array,
    take: Callable = operator.getitem,
) -> dict[str, Array]:
    """The updated memory; for a record that occurs twice in a batch, its last example counts.

    Args:
      momentum: share of the old row.
      memory: as of `init_memory`.
      key: float [B, D], embeddings; they get no gradients.
      index: int [B], record of each.
      take: (rows, index) -> rows[index].
    """
    rows = memory["rows"]
    moved = l2_normalize(momentum * take(rows, index) + (1 - momentum) * lax.stop_gradient(key))
    places = jnp.where(last_of_record(index), index, len(rows))
    return memory | {"rows": rows.at[places].set(moved, mode="drop")}


def last_of_record(index: Array) -> Array:
    """Whether a row is the last one of its record in the batch: bool [B], of int [B]."""
    order = jnp.argsort(index, stable=True)
    ordered = index[order]
    last = jnp.append(ordered[1:] != ordered[:-1], True)
    return jnp.zeros(index.shape, bool).at[order].set(last, unique_indices=True)
