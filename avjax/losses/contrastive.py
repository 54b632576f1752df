"""Contrastive losses on scores.  Scores are already divided by the temperature."""

import math
from typing import Callable, NamedTuple

import jax
import jax.numpy as jnp

from avjax.config import ranges
from avjax.types import Contrast


def info_nce() -> Contrast:
    """Picks the positive among the negatives: cross-entropy of a softmax.

    van den Oord et al., 2018, https://arxiv.org/abs/1807.03748.
    """

    def finish(positive, total):
        # Not logaddexp(positive, total) - positive, which rounds small losses to zero.
        return jax.nn.softplus(total - positive)

    return _softmax(finish)


def dcl() -> Contrast:
    """InfoNCE without the positive in the denominator: decoupled contrastive learning.

    Small batches then lose less.  Yeh et al., ECCV 2022, https://arxiv.org/abs/2110.06848.
    """

    def finish(positive, total):
        # A record that fills a batch has no negatives: 0, as of InfoNCE, and not -inf.
        return jnp.where(jnp.isneginf(total), 0.0, total - positive)

    return _softmax(finish)


def _softmax(finish) -> Contrast:
    def fold(scores, mask, positive):
        return jax.nn.logsumexp(jnp.where(mask, scores, -jnp.inf), axis=1)

    return Contrast(fold, jnp.logaddexp, finish, lambda scores, total: jnp.exp(scores - total), 0.0)


def logistic(bias: float) -> Contrast:
    """Tells each positive and each negative apart alone: a logistic regression.

    With a bias and a temperature that are learned (`learned`) this is SigLIP's loss (Zhai et
    al., ICCV 2023, https://arxiv.org/abs/2303.15343).
    """

    def fold(scores, mask, positive):
        return jnp.sum(jnp.where(mask, jax.nn.softplus(scores), 0.0), axis=1)

    def finish(positive, total):
        return jax.nn.softplus(-positive) + total

    return Contrast(fold, jnp.add, finish, lambda scores, total: jax.nn.sigmoid(scores), bias)


def nce(
    draws: int | None = None, dim: int | None = None, temperature: float | None = None
) -> Contrast:
    """The binary noise-contrastive estimation of AVID, as `logistic` with bias -log(K Z).

    Gutmann and Hyvarinen, AISTATS 2010; Morgado et al., CVPR 2021,
    https://arxiv.org/abs/2004.12943.

    Args:
      draws, dim, temperature: number of negatives, width of embeddings and what scores are divided
        by.  None, the default, is what the method uses; any other value must equal it.

    Returns:
      A Contrast whose bias `resolve` computes.
    """
    expected = {"draws": draws, "dim": dim, "temperature": temperature}
    for name in ("draws", "dim"):
        if expected[name] is not None:
            ranges.whole(name, expected[name], 1)
    if temperature is not None:
        ranges.number("temperature", temperature, above=0)

    def bias(used: dict) -> float:
        for name, (key, value) in used.items():
            given = expected[name]
            if given is not None and not math.isclose(given, value):
                raise ValueError(
                    f"config.method.contrast: {name}={given} contradicts {key}: {name}={value}; "
                    f"with --config.method.contrast.{name}=None it follows"
                )
        return nce_bias(**{name: value for name, (_, value) in used.items()})

    return logistic(0.0)._replace(bias=bias)


def resolve(contrast: Contrast, **used: tuple[str, float]) -> Contrast:
    """The contrast that a method computes with: one whose bias is a number.

    Args:
      used: draws, dim and temperature of the method, each as (config key for messages, value).

    Raises:
      ValueError: an argument of `nce` contradicts one of them.
    """
    return contrast._replace(bias=contrast.bias(used)) if callable(contrast.bias) else contrast


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


def multi_positive(contrast: Contrast) -> Contrast:
    """The mean of `contrast` over several positives [B, P], each against all negatives.

    As in CMA (Morgado et al., CVPR 2021, https://arxiv.org/abs/2004.12943), where the loss is
    `nce`: the negatives count once, whatever P.
    """

    def finish(positive, total):
        each = jax.vmap(contrast.finish, (1, None), 1)(positive, total)
        return each.mean(1)

    return contrast._replace(finish=finish)


def tally() -> Contrast:
    """No loss but what every run logs: [B, 3] of positive score, mean negative, share above.

    The last is the share of the negatives that score above the positive.
    """

    def fold(scores, mask, positive):
        parts = mask, jnp.where(mask, scores, 0.0), mask & (scores > positive[:, None])
        return jnp.stack([part.sum(1).astype(jnp.float32) for part in parts], 1)

    def finish(positive, total):
        count = jnp.maximum(total[:, 0], 1.0)
        return jnp.stack([positive, total[:, 1] / count, total[:, 2] / count], 1)

    return Contrast(fold, jnp.add, finish, lambda scores, total: jnp.zeros_like(scores), 0.0)


class Scale(NamedTuple):
    """What scores are divided by and shifted by.

    init:        () -> params, {} where nothing is learned.
    apply:       (params, contrast) -> (temperature, contrast).
    temperature: before training, for which `nce` computes its Z.
    """

    init: Callable
    apply: Callable
    temperature: float


def fixed(temperature: float) -> Scale:
    """One temperature for the whole run, and the bias of the loss as it is."""
    ranges.number("temperature", temperature, above=0)
    return Scale(dict, lambda params, contrast: (temperature, contrast), temperature)


def learned(temperature: float, least: float = 0.01, bias: float | None = None) -> Scale:
    """A temperature, and with `bias` a bias too, that begin so and are learned.

    The logarithm is what is learned.  The temperature never falls below `least`, as in CLIP
    (Radford et al., ICML 2021, https://arxiv.org/abs/2103.00020: 0.07 and 0.01).  SigLIP begins
    with 0.1 and a bias of -10, which must also be that of the loss.
    """
    ranges.number("least", least, above=0)
    ranges.number("temperature", temperature, least=least)

    def init():
        params = {"log_scale": jnp.full((), -math.log(temperature))}
        return params if bias is None else params | {"bias": jnp.full((), float(bias))}

    def apply(params, contrast):
        if bias is not None and not math.isclose(bias, contrast.bias):
            raise ValueError(
                f"config.method.contrast: bias={contrast.bias} contradicts config.method.scale: "
                f"bias={bias}; use the same in both, or --config.method.scale.bias=None"
            )
        log_scale = at_most(params["log_scale"], -math.log(least))
        return jnp.exp(-log_scale), contrast._replace(bias=params.get("bias", contrast.bias))

    return Scale(init, apply, temperature)


@jax.custom_vjp
def at_most(x, bound):
    """min(x, bound), with a gradient beyond the bound where that leads back."""
    return jnp.minimum(x, bound)


at_most.defvjp(
    lambda x, bound: (jnp.minimum(x, bound), (x, bound)),
    lambda saved, g: (jnp.where((saved[0] < saved[1]) | (g > 0), g, 0.0), None),
)
