"""NCE of a student and a teacher against memories of each other, as CRD and CMC have it.

Tian, Krishnan and Isola, ICLR 2020, https://arxiv.org/abs/1910.10699; Contrastive multiview coding,
ECCV 2020, https://arxiv.org/abs/1906.05849; the NCE of Wu et al., CVPR 2018,
https://arxiv.org/abs/1805.01978.  It differs from `avjax.losses.contrastive.nce` in its constant
Z, which is measured on the first batch and kept.
"""

import jax
import jax.numpy as jnp

from avjax.losses.divergence import mean_of_valid
from avjax.losses.memory_bank import ROW_MULTIPLE, update_memory
from avjax.ops.scores import precise_einsum
from avjax.types import Array, Tree

SIDES = ("student", "teacher")
OTHER = {"student": "teacher", "teacher": "student"}


def init_memories(rng: Array, size: int, dim: int) -> Tree:
    """Memories of both sides with uniform random rows, not of unit length.

    Args:
      rng: a key.
      size: number of records.
      dim: width of the embeddings.

    Returns:
      {"memory": {side: {"rows": float32 [N, dim], "size": int32}}, "z": {side: 0.0}}; N is padded
      to a multiple of ROW_MULTIPLE.
    """
    bound, rows = (dim / 3) ** -0.5, -(-size // ROW_MULTIPLE) * ROW_MULTIPLE
    memory = {
        side: {
            "rows": jax.random.uniform(key, (rows, dim), minval=-bound, maxval=bound),
            "size": jnp.full((), size, jnp.int32),
        }
        for side, key in zip(SIDES, jax.random.split(rng))
    }
    return {"memory": memory, "z": {side: jnp.zeros(()) for side in SIDES}}


def loss_and_update(
    state: Tree,
    embedding: dict[str, Array],
    index: Array,
    negative_rows: Array,
    temperature: float,
    momentum: float,
    valid: Array | None = None,
) -> tuple[Array, Tree]:
    """The loss of both sides, each against the other's memory, then updates the memories.

    Args:
      state: of `init_memories`; its other entries are passed on.
      embedding: {side: float [B, dim]} of unit length; both get gradients.
      index: int [B], record of each row, that of its positive.
      negative_rows: int [B, K], the same for both sides.
      temperature: divisor of the scores.
      momentum: share of the old row in an update.
      valid: bool [B], False for rows that do not count; None if all do.

    Returns:
      (loss, state); Z is measured by the first call with a row that counts.
    """
    memory, rows = state["memory"], jnp.concatenate([index[:, None], negative_rows], 1)
    size, total, z = memory["student"]["size"], jnp.zeros(()), {}
    for side in SIDES:
        among = memory[OTHER[side]]["rows"][rows]
        scores = jnp.exp(precise_einsum(embedding[side], among, "bd,bkd->bk") / temperature)
        measured = jax.lax.stop_gradient(mean_of_valid(scores.mean(1), valid)) * size
        z[side] = jnp.where(state["z"][side] > 0, state["z"][side], measured)
        total += nce(scores / jnp.where(z[side] > 0, z[side], 1), size, valid)
    places = index if valid is None else jnp.where(valid, index, len(memory["student"]["rows"]))
    memory = {m: update_memory(momentum, memory[m], embedding[m], places) for m in SIDES}
    return total, state | {"memory": memory, "z": z}


def nce(ratios: Array, size: Array | int, valid: Array | None = None) -> Array:
    """Binary classification of the positive against noise, by the ratios of their densities.

    Args:
      ratios: float [B, 1 + K], exp(score) / Z; column 0 is the positive.
      size: number of records.
      valid: bool [B]; None if all count.

    Returns:
      The mean over the rows that count, a scalar.
    """
    noise = (ratios.shape[1] - 1) / size
    positive, negative = ratios[:, 0], ratios[:, 1:]
    each = jnp.log(positive / (positive + noise + 1e-7))
    each += jnp.log(noise / (negative + noise + 1e-7)).sum(1)
    return -mean_of_valid(each, valid)
