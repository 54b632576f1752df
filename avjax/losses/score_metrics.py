"""Statistics of the scores, which every contrastive run logs."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp

from avjax.types import Array, ContrastiveLoss, Metrics

# Names of the metrics, in the order of the columns of `score_statistics`.
SCORES = ("score/positive", "score/negative", "score/negatives_above_positive")


def score_statistics() -> ContrastiveLoss:
    """Statistics of the scores, computed in place of a loss by any source of negatives.

    Returns:
      A ContrastiveLoss whose result is float32 [B, 3]: score of the positive, mean score of the
      negatives, and share of the negatives that score above the positive.
    """

    def accumulate(scores, mask, positive, axis=1):
        counts = mask.astype(jnp.float32)  # Sums of numbers are faster than sums of booleans.
        above = counts * (scores > jnp.expand_dims(positive, axis))
        parts = counts, jnp.where(mask, scores, 0.0).astype(jnp.float32), above
        return jnp.stack([part.sum(axis) for part in parts], 1)

    def finalize(positive, total):
        count = jnp.maximum(total[:, 0], 1.0)
        return jnp.stack([positive, total[:, 1] / count, total[:, 2] / count], 1)

    def score_grad(scores, total, positive):
        return jnp.zeros_like(scores)

    return ContrastiveLoss(accumulate, jnp.add, finalize, score_grad, 0.0)


def with_statistics(loss_fn: ContrastiveLoss, temperature: Array | float) -> ContrastiveLoss:
    """A loss that also returns the statistics of its scores, from one pass over them.

    Args:
      loss_fn: the loss, resolved, see `contrastive.resolve`.
      temperature: divisor of the scores.

    Returns:
      A ContrastiveLoss whose result is (what `loss_fn` returns, the result of `score_statistics` on
      scores without temperature and bias, which has no gradient).
    """
    statistics, still = score_statistics(), jax.lax.stop_gradient
    divisor, bias = still(jnp.asarray(temperature)), still(jnp.asarray(loss_fn.bias))

    def accumulate(scores, mask, positive, axis=1):
        own = loss_fn.accumulate(scores, mask, positive, axis)
        return own, statistics.accumulate(still(scores), mask, still(positive), axis)

    def merge(left, right):
        return loss_fn.merge(left[0], right[0]), statistics.merge(left[1], right[1])

    def finalize(positive, total):
        count, scores, above = jnp.moveaxis(still(total[1]), 1, 0)
        plain = jnp.stack([count, (scores - count * bias) * divisor, above], 1)
        found = statistics.finalize((still(positive) - bias) * divisor, plain)
        return loss_fn.finalize(positive, total[0]), found

    return loss_fn._replace(accumulate=accumulate, merge=merge, finalize=finalize)


def mean_scores(statistics: Iterable[Array]) -> Metrics:
    """The metrics of a batch: means over its rows and over the terms of a loss.

    Args:
      statistics: float [B, 3] of each term, results of `score_statistics`.

    Returns:
      {name: scalar} for each of SCORES.
    """
    means = [each.mean(0) for each in statistics]
    return dict(zip(SCORES, jnp.asarray(sum(means)) / len(means)))
