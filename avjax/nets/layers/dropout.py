"""Dropout (Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html)."""

from typing import Any

import flax.linen as nn

from avjax.types import Array


def dropout(rng: Array, x: Array, rate: float) -> Array:
    """Sets values to 0 with a probability and divides the others by that of keeping them.

    Args:
      rng: a key.
      x: float [...].
      rate: probability of 0, below 1.
    """
    module: Any = nn.Dropout(rate, deterministic=False)  # `apply` gives an array or a pair.
    return module.apply({}, x, rngs={"dropout": rng})
