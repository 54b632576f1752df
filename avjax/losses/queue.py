"""Negatives from a queue of the keys of earlier batches, as in MoCo."""

import jax
import jax.numpy as jnp
from jax import lax

from avjax.config import ranges
from avjax.ops.normalize import l2_normalize
from avjax.ops.scores import positive_scores, precise_einsum
from avjax.types import ContrastiveLoss, Negatives


def make(queue_size: int, num_negatives: int | None = None) -> Negatives:
    """First-in, first-out queue of the latest keys of earlier batches; keys get no gradients.

    He et al., CVPR 2020, https://arxiv.org/abs/1911.05722.

    Args:
      queue_size: number of keys, at least the batch size.
      num_negatives: so many of them, the same for all queries of a batch; None for all.

    Returns:
      Negatives whose memory is {"keys": float [queue_size, D], "head": int}.

    Raises:
      ValueError: an argument is out of its range; from `update`, more keys than the queue holds.
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
        positive = positive_scores(query, lax.stop_gradient(key), loss_fn.bias)
        keys = memory["keys"]
        if num_negatives is not None:
            keys = keys[
                (jax.random.randint(rng, (), 0, queue_size) + jnp.arange(num_negatives))
                % queue_size
            ]
        scores = precise_einsum(query, keys.T) + loss_fn.bias
        total = loss_fn.accumulate(scores, jnp.ones_like(scores, bool), positive)
        return loss_fn.finalize(positive, total)

    def update(memory, key, index):
        if len(key) > queue_size:
            raise ValueError(f"queue_size={queue_size} is less than the batch of {len(key)}")
        places = (memory["head"] + jnp.arange(len(key))) % queue_size
        keys = memory["keys"].at[places].set(lax.stop_gradient(key), unique_indices=True)
        return {"keys": keys, "head": (memory["head"] + len(key)) % queue_size}

    return Negatives(init, loss, update, num_negatives=num_negatives or queue_size)
