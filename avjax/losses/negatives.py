"""Negatives from the batch: dense, in tiles, or in a ring over devices (`types.Negatives`)."""

from collections.abc import Sequence

import jax.numpy as jnp

from avjax.config import ranges
from avjax.losses import pairs
from avjax.ops import blockwise
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
        totals = (loss_fn.accumulate(scores, mask, positive, axis) for axis in (1, 0))
        return tuple(loss_fn.finalize(positive, total) for total in totals)

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


def ring(
    num_negatives: int | None = None, tile: int = 1024, axis: str | Sequence[str] = ("data", "fsdp")
) -> Negatives:
    """`tiled`, split over devices: keys, not scores, travel from each device to the next.

    Args (others as in `tiled`):
      axis: mesh axis, or axes, over which the batch is split.

    Returns:
      Negatives, as `in_batch`; their losses raise ValueError without such a mesh.
    """
    _check_args(num_negatives, tile)
    return _tiled_negatives(num_negatives=num_negatives, tile=tile, axis=_as_axes(axis))


def _as_axes(axis):
    return axis if isinstance(axis, str) else tuple(axis)


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
