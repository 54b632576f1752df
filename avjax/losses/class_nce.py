"""Multi-class NCE of CCL: every pair of a batch is an example of "same class" or "other class".

Chen et al., CVPR 2021, https://arxiv.org/abs/2104.10955.
"""

import jax
import jax.numpy as jnp

from avjax.ops.normalize import l2_normalize
from avjax.ops.scores import precise_einsum
from avjax.types import Array

SMALLEST = 1e-10  # Added to a probability before its logarithm.
EXCLUDED = -1e30  # Score of a column that does not count; finite, so that all may be excluded.


def multiclass_nce(
    query: Array, key: Array, label: Array, temperature: float, valid: Array | None = None
) -> Array:
    """NCE of a batch against a batch, with all keys of the query's class as positives.

    p is the softmax of a query's cosines with all keys.  The loss of a query is the mean of
    -log(p) over the keys of its class plus the mean of -log(1 - p) over those of other classes; a
    batch of one class has no second part.

    Args:
      query, key: float [B, D] of any length; row i of both is of the same clip.
      label: int [B]; rows with -1 do not count.
      temperature: divisor of the cosines.
      valid: bool [B], False for rows that do not count; None if all do.

    Returns:
      The mean over the rows that count, a scalar; 0 if there is none.
    """
    valid = label >= 0 if valid is None else valid & (label >= 0)
    scores = precise_einsum(l2_normalize(query), l2_normalize(key).T) / temperature
    p = jax.nn.softmax(jnp.where(valid[None], scores, EXCLUDED))
    same = label[:, None] == label[None]
    # A quotient of equal numbers may be rounded to above 1.
    attract = _mean(-jnp.log(p + SMALLEST), same & valid[None])
    # Reference: divides by 0 if all clips are of one class.
    repel = _mean(-jnp.log(jnp.maximum(1 - p, 0) + SMALLEST), ~same & valid[None])
    return jnp.where(valid, attract + repel, 0).sum() / jnp.maximum(valid.sum(), 1)


def symmetric_nce(
    query: Array, key: Array, label: Array, temperature: float, valid: Array | None = None
) -> Array:
    """`multiclass_nce` in both directions, summed; arguments as there."""
    return multiclass_nce(query, key, label, temperature, valid) + multiclass_nce(
        key, query, label, temperature, valid
    )


def _mean(x, mask):
    """Mean of x [B, C] over the columns of a mask; 0 if there is none."""
    return jnp.where(mask, x, 0).sum(1) / jnp.maximum(mask.sum(1), 1)
