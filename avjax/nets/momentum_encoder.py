"""The momentum encoder: a moving average of the parameters of an encoder."""

import jax

from avjax.types import Tree


def ema_update(ema: Tree, params: Tree, momentum: float) -> Tree:
    """Exponential moving average of parameters: momentum * ema + (1 - momentum) * params.

    Args:
      ema, params: trees of arrays of the same shapes.
      momentum: share of `ema`, 0 to 1.

    Returns:
      The new `ema`.
    """
    return jax.tree.map(lambda s, f: momentum * s + (1 - momentum) * f, ema, params)
