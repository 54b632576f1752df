"""Statistics of the scores, which every contrastive run logs."""

from collections.abc import Iterable

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

    def accumulate(scores, mask, positive):
        parts = mask, jnp.where(mask, scores, 0.0), mask & (scores > positive[:, None])
        return jnp.stack([part.sum(1).astype(jnp.float32) for part in parts], 1)

    def finalize(positive, total):
        count = jnp.maximum(total[:, 0], 1.0)
        return jnp.stack([positive, total[:, 1] / count, total[:, 2] / count], 1)

    def score_grad(scores, total, positive):
        return jnp.zeros_like(scores)

    return ContrastiveLoss(accumulate, jnp.add, finalize, score_grad, 0.0)


def mean_scores(statistics: Iterable[Array]) -> Metrics:
    """The metrics of a batch: means over its rows and over the terms of a loss.

    Args:
      statistics: float [B, 3] of each term, results of `score_statistics`.

    Returns:
      {name: scalar} for each of SCORES.
    """
    means = [each.mean(0) for each in statistics]
    return dict(zip(SCORES, jnp.asarray(sum(means)) / len(means)))
