"""Divergences between the class probabilities of two nets."""

import jax
import jax.numpy as jnp

from avjax.types import Array


def symmetric_kl(first: Array, second: Array, valid: Array | None = None) -> Array:
    """(KL(p || q) + KL(q || p)) / 2, with gradients to both.

    CCL's program calls it Jensen-Shannon divergence, which it is not.  Chen et al., CVPR 2021,
    https://arxiv.org/abs/2104.10955.

    Args:
      first, second: logits, float [B, C], of p and q.
      valid: bool [B], False for rows that do not count; None if all do.

    Returns:
      The mean over the rows that count, a scalar; 0 if there is none.
    """
    # Reference: adds 1e-10 to the quotients; from logarithms nothing can be infinite.
    log_p, log_q = jax.nn.log_softmax(first), jax.nn.log_softmax(second)
    each = ((jnp.exp(log_p) - jnp.exp(log_q)) * (log_p - log_q)).sum(1)
    return 0.5 * mean_of_valid(each, valid)


def soft_targets(
    student: Array, teacher: Array, temperature: float, valid: Array | None = None
) -> Array:
    """temperature^2 KL(teacher || student) of softened class probabilities.

    Hinton et al., 2015, https://arxiv.org/abs/1503.02531.

    Args:
      student, teacher: logits, float [B, C].
      temperature: divisor of the logits.
      valid: bool [B], False for rows that do not count; None if all do.

    Returns:
      The mean over the rows that count, a scalar; 0 if there is none.
    """
    log_s, log_t = (jax.nn.log_softmax(x / temperature) for x in (student, teacher))
    each = (jnp.exp(log_t) * (log_t - log_s)).sum(1)
    return temperature**2 * mean_of_valid(each, valid)


def mean_of_valid(x: Array, valid: Array | None) -> Array:
    """Mean of x [B] over the rows where `valid` is True, or over all; 0 if there is none."""
    if valid is None:
        return x.mean()
    return jnp.where(valid, x, 0).sum() / jnp.maximum(valid.sum(), 1)
