"""Contrastive losses on scores.  Scores are already divided by the temperature."""

import math

import jax
import jax.numpy as jnp

from avjax.types import Contrast


def info_nce() -> Contrast:
    """Picks the positive among the negatives: cross-entropy of a softmax.

    van den Oord et al., 2018, https://arxiv.org/abs/1807.03748.
    """

    def fold(scores, mask):
        return jax.nn.logsumexp(jnp.where(mask, scores, -jnp.inf), axis=1)

    def finish(positive, total):
        # Not logaddexp(positive, total) - positive, which rounds small losses to zero.
        return jax.nn.softplus(total - positive)

    return Contrast(fold, jnp.logaddexp, finish)


def logistic(bias: float) -> Contrast:
    """Tells each positive and each negative apart alone: a logistic regression.

    With a learned bias this is SigLIP's loss (Zhai et al., ICCV 2023,
    https://arxiv.org/abs/2303.15343).
    """

    def fold(scores, mask):
        return jnp.sum(jnp.where(mask, jax.nn.softplus(scores + bias), 0.0), axis=1)

    def finish(positive, total):
        return jax.nn.softplus(-positive - bias) + total

    return Contrast(fold, jnp.add, finish)


def nce(draws: int, dim: int, temperature: float) -> Contrast:
    """The binary noise-contrastive estimation of AVID, as `logistic` with bias -log(K Z).

    Gutmann and Hyvarinen, AISTATS 2010; Morgado et al., CVPR 2021,
    https://arxiv.org/abs/2004.12943.
    """
    return logistic(nce_bias(draws, dim, temperature))


def nce_bias(draws: int, dim: int, temperature: float) -> float:
    """-log(K Z), with Z the mean of exp(score) against a memory of random unit vectors.

    AVID measures Z on the first batch and keeps it; but the first memory *is* random,
    so Z is known: 0F1(; dim / 2; 1 / (4 temperature^2)).
    """
    term, z, x = 1.0, 1.0, 1.0 / (2.0 * temperature) ** 2
    for n in range(200):
        term *= x / ((dim / 2 + n) * (n + 1))
        z += term
    return -math.log(draws * z)
