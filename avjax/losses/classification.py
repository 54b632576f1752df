"""Cross-entropy and accuracy of the rows of a batch that have a label."""

import jax
import jax.numpy as jnp
import optax

from avjax.types import Array


def cross_entropy(logits: Array, label: Array, label_smoothing: float = 0.0) -> Array:
    """Mean cross-entropy of the labeled rows.

    Args:
      logits: float [B, C].
      label: int [B], -1 for rows that do not count.
      label_smoothing: weight of the uniform distribution in the targets.

    Returns:
      a scalar, 0 if no row has a label; NaN if a label is not below C.
    """
    classes = logits.shape[1]
    targets = optax.smooth_labels(jax.nn.one_hot(label, classes), label_smoothing)
    each = optax.softmax_cross_entropy(logits, targets)
    # `one_hot` of a label that is too high is 0: the row would cost nothing.
    return mean_of_labeled(jnp.where(label < classes, each, jnp.nan), label)


def accuracy(logits: Array, label: Array) -> Array:
    """Share of the labeled rows whose highest logit is that of their label.

    Args:
      logits: float [B, C].
      label: int [B], -1 for rows that do not count.
    """
    return mean_of_labeled(logits.argmax(1) == label, label)


def mean_of_labeled(x: Array, label: Array) -> Array:
    """Mean of x [B] over the rows whose label is not -1; 0 if there is none."""
    labeled = label >= 0
    return jnp.where(labeled, x, 0).sum() / jnp.maximum(labeled.sum(), 1)
