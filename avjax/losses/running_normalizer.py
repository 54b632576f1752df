"""SogCLR's running sum of each record's negatives: one scalar per record and direction.

Yuan et al., ICML 2022, https://arxiv.org/abs/2202.12387.  A small batch sees few negatives; the
moving average of a record's sum over its batches stands for the sum over all records, with 4 bytes
per record and direction instead of a bank's embedding.
"""

import math

import jax.numpy as jnp
from jax import lax

from avjax.losses.contrastive import info_nce
from avjax.losses.memory_bank import ROW_MULTIPLE, last_of_record
from avjax.types import Array, ContrastiveLoss


def init(size: int) -> dict[str, Array]:
    """No record has been seen: {"rows": float32 [N]} of -inf; N is padded as that of a bank.

    Args:
      size: number of records.
    """
    return {"rows": jnp.full(-(-size // ROW_MULTIPLE) * ROW_MULTIPLE, -jnp.inf)}


def totals() -> ContrastiveLoss:
    """In place of a loss, any source of negatives returns float [B, 2]: positive and log sum."""

    def finalize(positive, total):
        return jnp.stack([positive, total], 1)

    return info_nce()._replace(finalize=finalize)


def loss_and_update(
    memory: dict[str, Array], found: Array, index: Array, num_negatives: int, gamma: float
) -> tuple[Array, dict[str, Array]]:
    """The loss of a batch, whose gradient is divided by the running means, and the new means.

    With g the mean of exp(n - p) over the negatives, the running mean is u = (1 - gamma) u + gamma
    g; the gradient of the loss is that of g, divided by u.  With gamma 1 this is the gradient of
    `contrastive.dcl`.

    Args:
      memory: of `init`.
      found: float [B, 2], of `totals`.
      index: int [B], record of each row; of several rows of a record the last one is kept.
      num_negatives: K.
      gamma: weight of this batch, 0 < gamma <= 1.

    Returns:
      (log u [B], the memory).
    """
    log_g = found[:, 1] - found[:, 0] - math.log(num_negatives)
    old, now = memory["rows"][index], lax.stop_gradient(log_g)
    # Reference: starts with g if the rows of the whole batch are new; here each row on its own.
    weight = jnp.where(jnp.isneginf(old), 1.0, gamma)
    log_u = jnp.logaddexp(
        jnp.log1p(-weight) + jnp.where(weight < 1, old, 0.0), jnp.log(weight) + now
    )
    # Paper: multiplies the loss by the temperature.  The value is log u, the gradient g' / u.
    share = jnp.exp(now - log_u)
    loss = log_u + share * (log_g - now)
    places = jnp.where(last_of_record(index), index, len(memory["rows"]))
    return loss, memory | {"rows": memory["rows"].at[places].set(log_u, mode="drop")}
