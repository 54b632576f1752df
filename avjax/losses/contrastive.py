"""Contrastive losses on scores that are already divided by the temperature."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from avjax.config import ranges
from avjax.types import Array, Batch, ContrastiveLoss


def info_nce() -> ContrastiveLoss:
    """InfoNCE: softmax cross-entropy of the positive among the negatives.

    van den Oord et al., 2018, https://arxiv.org/abs/1807.03748.

    Returns:
      A ContrastiveLoss.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from avjax.losses import contrastive, negatives
      >>> z, rng = jnp.eye(4), jax.random.key(0)
      >>> negatives.in_batch().loss((), z, z, jnp.arange(4), rng, contrastive.info_nce()).shape
      (4,)
    """

    def finalize(positive, total):
        # Not logaddexp(positive, total) - positive, which rounds small losses to zero.
        return jax.nn.softplus(total - positive)

    return _softmax_loss(finalize)


def dcl() -> ContrastiveLoss:
    """Decoupled contrastive learning: InfoNCE without the positive in the denominator.

    Degrades less with small batches.  Yeh et al., ECCV 2022, https://arxiv.org/abs/2110.06848.

    Returns:
      A ContrastiveLoss.
    """

    def finalize(positive, total):
        # One record that fills a batch has no negatives: 0, as for InfoNCE, not -inf.
        return jnp.where(jnp.isneginf(total), 0.0, total - positive)

    return _softmax_loss(finalize)


def _softmax_loss(finalize) -> ContrastiveLoss:
    def accumulate(scores, mask, positive, axis=1):
        return jax.nn.logsumexp(jnp.where(mask, scores, -jnp.inf), axis)

    def score_grad(scores, total, positive):
        return jnp.exp(scores - total)

    return ContrastiveLoss(accumulate, jnp.logaddexp, finalize, score_grad, 0.0)


def logistic(bias: Array | float) -> ContrastiveLoss:
    """Logistic regression of each positive and each negative on its own.

    With a learned temperature and bias (`learned_temperature`) this is SigLIP's loss, Zhai et al.,
    ICCV 2023, https://arxiv.org/abs/2303.15343.

    Args:
      bias: added to every score.

    Returns:
      A ContrastiveLoss.
    """

    def accumulate(scores, mask, positive, axis=1):
        return jnp.sum(jnp.where(mask, jax.nn.softplus(scores), 0.0), axis)

    def finalize(positive, total):
        return jax.nn.softplus(-positive) + total

    def score_grad(scores, total, positive):
        return jax.nn.sigmoid(scores)

    return ContrastiveLoss(accumulate, jnp.add, finalize, score_grad, bias)


def nce(
    num_negatives: int | None = None, dim: int | None = None, temperature: float | None = None
) -> ContrastiveLoss:
    """Binary noise-contrastive estimation as in AVID: `logistic` with bias -log(K Z).

    Gutmann and Hyvarinen, AISTATS 2010; Morgado et al., CVPR 2021,
    https://arxiv.org/abs/2004.12943.

    Args:
      num_negatives, dim, temperature: number of negatives, width of the embeddings, and divisor of
        the scores.  None uses the method's value; any other value must equal it.

    Returns:
      A ContrastiveLoss whose bias `resolve` computes.

    Raises:
      ValueError: an argument is out of its range.
    """
    expected = {"num_negatives": num_negatives, "dim": dim, "temperature": temperature}
    for name in ("num_negatives", "dim"):
        if expected[name] is not None:
            ranges.check_integer(name, expected[name], 1)
    if temperature is not None:
        ranges.check_number("temperature", temperature, above=0)

    def with_bias(used: dict, batch: Batch) -> ContrastiveLoss:
        del batch
        for name, (key, value) in used.items():
            given = expected[name]
            if given is not None and not math.isclose(given, value):
                raise ValueError(
                    f"config.method.loss_fn: {name}={given} contradicts {key}: {name}={value}; "
                    f"use --config.method.loss_fn.{name}=None to take that value"
                )
        return logistic(nce_bias(**{name: value for name, (_, value) in used.items()}))

    return logistic(0.0)._replace(resolve=with_bias)


def resolve(loss_fn: ContrastiveLoss, batch: Batch, **used: Any) -> ContrastiveLoss:
    """Completes a loss that depends on the method's settings or on a column of the batch.

    Args:
      loss_fn: any loss.
      batch: the batch.
      used: num_negatives, dim and temperature of the method, each as (config key for messages,
        value).

    Returns:
      A loss that depends on the scores alone.

    Raises:
      ValueError: an argument of the loss contradicts one of the values, or the batch lacks its
        column.
    """
    return loss_fn.resolve(used, batch) if loss_fn.resolve else loss_fn


def nce_bias(num_negatives: int, dim: int, temperature: float) -> float:
    """-log(K Z), where Z is the mean of exp(score) over a memory of random unit vectors.

    AVID measures Z on the first batch and keeps it.  The initial memory is random, so Z is known:
    0F1(; dim / 2; 1 / (4 temperature^2)).

    Args:
      num_negatives: K.
      dim: width of the embeddings.
      temperature: divisor of the scores.

    Example:
      >>> from avjax.losses import contrastive
      >>> round(contrastive.nce_bias(num_negatives=1024, dim=128, temperature=0.07), 3)
      -7.724
    """
    term, z, x = 1.0, 1.0, 1.0 / (2.0 * temperature) ** 2
    for n in range(200):
        term *= x / ((dim / 2 + n) * (n + 1))
        z += term
    return -math.log(num_negatives * z)


def multi_positive(loss_fn: ContrastiveLoss) -> ContrastiveLoss:
    """The mean of a loss over several positives [B, P], each against all negatives.

    As in CMA (Morgado et al., CVPR 2021, https://arxiv.org/abs/2004.12943), where the loss is
    `nce`; the negatives count once, for any P.

    Args:
      loss_fn: the loss of one positive.

    Returns:
      A ContrastiveLoss.
    """

    def finalize(positive, total):
        each = jax.vmap(loss_fn.finalize, (1, None), 1)(positive, total)
        return each.mean(1)

    return loss_fn._replace(finalize=finalize)
