"""Sources of negatives (`types.Negatives`); a config selects one."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from avjax.config import ranges
from avjax.losses import bank_rows, pairs, sampling
from avjax.ops import blockwise
from avjax.ops.normalize import l2_normalize
from avjax.ops.scores import band_offset, negative_mask, positive_scores, precise_einsum
from avjax.types import ContrastiveLoss, Negatives


def in_batch(num_negatives: int | None = None) -> Negatives:
    """The other examples of the global batch, all scores at once; keys get gradients.

    Written for one device.  Under `jit` on a mesh the compiler gathers the keys and returns their
    gradients with the right scale.

    Args:
      num_negatives: exactly this many of the others, uniformly; None for all.

    Returns:
      Negatives without a memory, with `symmetric_loss`.

    Raises:
      ValueError: an argument is out of its range; from the losses, the batch has one row, or
        num_negatives others are not in it.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from avjax.losses import contrastive, negatives
      >>> query, key = jax.random.normal(jax.random.key(0), (2, 8, 16))
      >>> index, rng = jnp.arange(8), jax.random.key(1)
      >>> source = negatives.in_batch(num_negatives=4)
      >>> v2a, a2v = source.symmetric_loss(query, key, index, rng, contrastive.info_nce())
      >>> v2a.shape, a2v.shape
      ((8,), (8,))
    """
    _check_args(num_negatives)

    def symmetric_loss(query, key, index, rng, loss_fn: ContrastiveLoss):
        slots = jnp.arange(len(query))
        first = band_offset(rng, len(query), num_negatives)
        mask = negative_mask(index, index, (slots, slots), len(query), num_negatives, first)
        positive = positive_scores(query, key, loss_fn.bias)
        scores = precise_einsum(query, key.T) + loss_fn.bias
        sides = (scores, mask), (scores.T, mask.T)
        return tuple(loss_fn.finalize(positive, loss_fn.accumulate(*s, positive)) for s in sides)

    return _batch_negatives(symmetric_loss, num_negatives)


def tiled(num_negatives: int | None = None, tile: int = 1024) -> Negatives:
    """`in_batch` on one device with O(B) instead of O(B^2) memory; exact.

    On several devices use `ring`, which shares the work.

    Args:
      num_negatives: as in `in_batch`.
      tile: maximum number of rows and of columns of scores in memory.

    Returns:
      Negatives, as `in_batch`.
    """
    _check_args(num_negatives, tile)
    return _tiled_negatives(num_negatives=num_negatives, tile=tile)


def ring(num_negatives: int | None = None, tile: int = 1024, axis: str = "data") -> Negatives:
    """`tiled`, split over devices: keys, not scores, travel from each device to the next.

    Args (others as in `tiled`):
      axis: mesh axis over which the batch is split.

    Returns:
      Negatives, as `in_batch`; their losses raise ValueError without such a mesh.
    """
    _check_args(num_negatives, tile)
    return _tiled_negatives(num_negatives=num_negatives, tile=tile, axis=axis)


def _tiled_negatives(**how) -> Negatives:
    def symmetric_loss(query, key, index, rng, loss_fn: ContrastiveLoss):
        positive = positive_scores(query, key, loss_fn.bias)
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
        `sampling.sample_excluding`, as in AVID (https://arxiv.org/abs/2004.12943);
        `sampling.sample_uniform` is that of Wu et al., CVPR 2018, https://arxiv.org/abs/1805.01978.

    Returns:
      Negatives whose memory is {"rows": float [N, D], "size": int}; N is padded to a multiple of
      bank_rows.ROW_MULTIPLE.

    Raises:
      ValueError: an argument is out of its range; from `init`, fewer than two records.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from avjax.losses import contrastive, negatives
      >>> bank = negatives.memory_bank(num_negatives=5)
      >>> memory = bank.init(jax.random.key(0), size=100, dim=16)
      >>> z, index = jnp.eye(8, 16), jnp.arange(8)
      >>> bank.loss(memory, z, z, index, jax.random.key(1), contrastive.info_nce()).shape
      (8,)
      >>> memory = bank.update(memory, z, index)
    """
    sampler = sampler or sampling.sample_excluding
    _check_args(num_negatives)
    ranges.check_number("momentum", momentum, minimum=0, below=1)

    def loss(memory, query, key, index, rng, loss_fn: ContrastiveLoss):
        del key  # Keys are rows of the memory.
        rows = sampler(rng, index[:, None], memory["size"], num_negatives)
        return bank_rows.loss_against_memory(memory["rows"], query, index, rows, loss_fn)

    return Negatives(
        bank_rows.init_memory,
        loss,
        functools.partial(bank_rows.update_memory, momentum),
        num_negatives=num_negatives,
    )


def memory_bank_shared(num_negatives: int, momentum: float = 0.5) -> Negatives:
    """`memory_bank` where all queries of a batch share distinct negatives: one matrix product.

    Of num_negatives + 1 rows each query excludes its own, or the last one if its own was not
    sampled.

    Args:
      num_negatives, momentum: as in `memory_bank`.

    Returns:
      Negatives, as `memory_bank`; `init` requires more than num_negatives records.
    """
    _check_args(num_negatives)
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
        return bank_rows.init_memory(rng, size, dim)

    return Negatives(
        init,
        loss,
        functools.partial(bank_rows.update_memory, momentum),
        num_negatives=num_negatives,
    )


def queue(queue_size: int, num_negatives: int | None = None) -> Negatives:
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
