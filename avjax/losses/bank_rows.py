"""The rows of a memory bank: their start, update and scores."""

import jax
import jax.numpy as jnp
from jax import lax

from avjax.ops.normalize import l2_normalize
from avjax.ops.scores import precise_einsum
from avjax.types import Array, ContrastiveLoss


def loss_against_memory(
    memory: Array, query: Array, index: Array, negative_rows: Array, loss_fn: ContrastiveLoss
) -> Array:
    """Loss of queries against rows of a memory.

    Args:
      memory: float [N, D].
      query: float [B, D], divided by the temperature.
      index: int [B], rows of the positives; [B, P] with `contrastive.multi_positive`.
      negative_rows: int [B, K], rows of the negatives.
      loss_fn: the loss.

    Returns:
      float [B].
    """
    positive, scores = (
        precise_einsum(query, memory[x], "bd,b...d->b...") + loss_fn.bias
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
    momentum: float, memory: dict[str, Array], key: Array, index: Array
) -> dict[str, Array]:
    """The updated memory; for a record that occurs twice in a batch, its last example counts.

    Args:
      momentum: share of the old row.
      memory: as of `init_memory`.
      key: float [B, D], embeddings; they get no gradients.
      index: int [B], record of each.
    """
    later = jnp.triu(index[:, None] == index[None], k=1).any(axis=1)
    rows = memory["rows"]
    moved = l2_normalize(momentum * rows[index] + (1 - momentum) * lax.stop_gradient(key))
    places = jnp.where(later, len(rows), index)
    return memory | {"rows": rows.at[places].set(moved, mode="drop")}
