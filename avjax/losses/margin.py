"""Margin losses on distances of pairs."""

import jax.numpy as jnp

from avjax.types import Array


def margin_loss(distance: Array, matched: Array, margin: float, power: int) -> Array:
    """Margin loss of Hadsell et al., CVPR 2006, https://doi.org/10.1109/CVPR.2006.100.

    Args:
      distance: float [B].
      matched: bool [B].
      margin: distance beyond which mismatched pairs have no loss.
      power: exponent of the distance of matched pairs, 1 or 2.

    Returns:
      Loss [B]: distance^power if matched, else max(margin - distance, 0)^2.

    Example:
      >>> import jax.numpy as jnp
      >>> from avjax.losses import margin
      >>> d = margin.distance(jnp.ones((2, 8)), jnp.ones((2, 8)))
      >>> margin.margin_loss(d, jnp.array([True, False]), margin=1.0, power=2).round(3).tolist()
      [0.0, 1.0]
    """
    # Paper: some print it with power 1; 2 is the contrastive loss of Hadsell et al., CVPR 2006.
    return jnp.where(matched, distance**power, jnp.maximum(margin - distance, 0.0) ** 2)


def distance(x: Array, y: Array) -> Array:
    """Euclidean distance of each two rows, with a gradient at 0.

    Args:
      x, y: float [B, D].

    Returns:
      float [B].
    """
    return jnp.sqrt(jnp.sum((x - y) ** 2, axis=-1) + 1e-12)
