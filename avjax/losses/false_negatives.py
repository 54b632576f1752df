"""Losses for negatives of which some are positives: debiased, or without those above a margin.

Where classes are known, `avjax.losses.pairs.by_label` and `avjax.losses.sampling.other_classes`
leave such negatives out.
"""

import math

import jax
import jax.numpy as jnp

from avjax.config import ranges
from avjax.losses.contrastive import info_nce, resolve
from avjax.types import Array, Batch, ContrastiveLoss


def debiased(
    prior: float | str, num_negatives: int | None = None, temperature: float | None = None
) -> ContrastiveLoss:
    """InfoNCE whose negatives are corrected for the positives expected among them.

    Chuang et al., NeurIPS 2020, https://arxiv.org/abs/2007.00224.  The sum N of exp(n) over K
    negatives becomes max((N - K prior exp(p)) / (1 - prior), K exp(-1 / temperature)), with p the
    score of the positive.

    Args:
      prior: probability that a negative is of the query's class, 0 <= prior < 1; or the column of
        the batch, float [B], that has it for each record.
      num_negatives, temperature: K and the divisor of the scores.  None uses the method's value;
        for a learned temperature, its initial value.

    Returns:
      A ContrastiveLoss that `contrastive.resolve` completes.

    Raises:
      ValueError: an argument is out of its range.
    """
    if not isinstance(prior, str):
        ranges.check_number("prior", prior, minimum=0, below=1)
    if num_negatives is not None:
        ranges.check_integer("num_negatives", num_negatives, 1)
    if temperature is not None:
        ranges.check_number("temperature", temperature, above=0)

    def with_settings(used: dict, batch: Batch) -> ContrastiveLoss:
        k = num_negatives or used["num_negatives"][1]
        tau = temperature or used["temperature"][1]
        values = _column(batch, prior) if isinstance(prior, str) else jnp.asarray(prior)

        def finalize(positive, total):
            return jax.nn.softplus(_log_debiased(positive, total, values, k, tau) - positive)

        return info_nce()._replace(finalize=finalize)

    return info_nce()._replace(finalize=_unresolved, resolve=with_settings)


def _log_debiased(positive, total, prior, k, tau):
    """log of the debiased sum [B], from log sums `total` [B]."""
    expected = positive + jnp.log(k * prior)
    above = expected < total
    # Two `where`, so that the branch that is not taken has no infinite gradient.
    share = jnp.exp(jnp.where(above, expected - total, -1.0))
    log_sum = jnp.where(above, total, 0.0) + jnp.log1p(-share) - jnp.log1p(-prior)
    least = math.log(k) - 1 / tau
    return jnp.where(above, jnp.maximum(log_sum, least), least)


def _column(batch: Batch, name: str) -> Array:
    """The column of a batch, float [B]."""
    if name not in batch:
        raise ValueError(
            f"config.method.loss_fn: prior={name!r}: the batch has no such column, it has "
            f"{', '.join(sorted(batch))}; avjax.data.datasets.with_vectors adds one"
        )
    return batch[name].reshape(len(batch[name]))


def _unresolved(positive, total):
    raise ValueError("debiased: call avjax.losses.contrastive.resolve before the loss")


def below_positive(loss_fn: ContrastiveLoss, margin: float) -> ContrastiveLoss:
    """A loss without the negatives that score above the positive minus a margin.

    Such a negative may be an unlabelled positive.  As in de Souza P. Moreira et al.,
    2024, https://arxiv.org/abs/2407.15831, where the scores are a teacher's.

    Args:
      loss_fn: the loss of the others; with `contrastive.multi_positive` the lowest positive counts.
      margin: 0 or more, of scores: cosines divided by the temperature.

    Returns:
      A ContrastiveLoss; a query without any negative left has the loss of no negatives.

    Raises:
      ValueError: margin is below 0.
    """
    ranges.check_number("margin", margin, minimum=0)

    # Paper: scores are those of a trained teacher; here they are those of the nets in training.
    def kept(scores, positive):
        return scores <= positive - margin

    def accumulate(scores, mask, positive, axis=1):
        lowest = jnp.expand_dims(positive.reshape(len(positive), -1).min(1), axis)
        return loss_fn.accumulate(scores, mask & kept(scores, lowest), positive, axis)

    def score_grad(scores, total, positive):
        grad = loss_fn.score_grad(scores, total, positive)
        return jnp.where(kept(scores, positive), grad, 0.0)

    def with_settings(used: dict, batch: Batch) -> ContrastiveLoss:
        return below_positive(resolve(loss_fn, batch, **used), margin)

    own = loss_fn._replace(accumulate=accumulate, score_grad=score_grad)
    return own._replace(resolve=with_settings if loss_fn.resolve else None)
