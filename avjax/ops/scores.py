"""Scores of queries with keys, and which of them count."""

import jax
import jax.numpy as jnp
from jax import lax

from avjax.types import Array


def positive_scores(query: Array, key: Array, bias: Array | float) -> Array:
    """The score [B] of each query [B, D] with its own key [B, D], plus `bias`."""
    return jnp.sum(query.astype(acc_dtype(query)) * key.astype(acc_dtype(key)), axis=1) + bias


def acc_dtype(x: Array) -> jnp.dtype:
    """The dtype in which products of x are accumulated: its own, float32 at least."""
    return jnp.promote_types(x.dtype, jnp.float32)


def band_offset(rng: Array, size: int, num_negatives: int | None) -> Array:
    """Random start of the band of negatives of `negative_mask`; each key is equally likely.

    Args:
      rng: a key.
      size: rows of the batch.
      num_negatives: negatives per query; None for all others.

    Returns:
      int, a scalar, 0 for all others.

    Raises:
      ValueError: the batch has not so many others.
    """
    if num_negatives is None:
        return jnp.zeros((), jnp.int32)
    if not 0 < num_negatives < size:
        raise ValueError(
            f"num_negatives={num_negatives} of a batch of {size}, which has {size - 1} others: "
            "use fewer or a larger batch"
        )
    return jax.random.randint(rng, (), 0, size - 1)


def negative_mask(
    rows: Array,
    columns: Array,
    slots: tuple[Array, Array],
    size: int,
    num_negatives: int | None,
    first: Array,
) -> Array:
    """Which columns are negatives of which rows.

    Args:
      rows, columns: int [R] and [C], record of each; clips of one record are not negatives.
      slots: ([R], [C]), positions in the batch of `size`, -1 for padding.
      num_negatives, first: only so many of the other positions, from `first` on, counted cyclically
        from the row's own; None for all.

    Returns:
      bool [R, C].
    """
    mask = rows[:, None] != columns[None]
    mask &= (slots[0] >= 0)[:, None] & (slots[1] >= 0)[None]
    if num_negatives is None:
        return mask
    ahead = slots[1][None] - slots[0][:, None] - 1
    ahead = jnp.where(ahead < 0, ahead + size, ahead)  # In [0, size - 2]; its own is last.
    turn = ahead - first
    turn = jnp.where(turn < 0, turn + size - 1, turn)
    return mask & (turn < num_negatives) & (ahead < size - 1)


def precise_einsum(a: Array, b: Array, subscripts: str = "ij,jk->ik") -> Array:
    """`jnp.einsum` for scores, with the same precision for all sources of negatives.

    Accumulates in float32 at least, without the TF32 of GPUs or bfloat16 of TPUs; gradients too.
    """
    return jnp.einsum(
        subscripts, a, b, precision=lax.Precision.HIGHEST, preferred_element_type=acc_dtype(a)
    )
