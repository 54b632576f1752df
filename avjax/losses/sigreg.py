"""Sketched isotropic Gaussian regularization (SIGReg) of LeJEPA: no negatives.

Balestriero and LeCun, 2025, https://arxiv.org/abs/2511.08544.  Embeddings whose projections onto
random directions are all standard normal cannot collapse.
"""

import jax
import jax.numpy as jnp
import numpy as np

from avjax.config import ranges
from avjax.ops.normalize import l2_normalize
from avjax.ops.scores import acc_dtype, precise_einsum
from avjax.types import Array


def sigreg(z: Array, rng: Array, num_directions: int = 256, knots: int = 17) -> Array:
    """Distance of a batch of embeddings from a standard normal distribution.

    Args:
      z: float [B, D], not of unit length.
      rng: a key, for the directions.
      num_directions: random directions onto which the batch is projected.
      knots: as of `epps_pulley`.

    Returns:
      The mean of `epps_pulley` over the directions, a scalar.

    Raises:
      ValueError: an argument is out of its range.

    Example:
      >>> import jax
      >>> from avjax.losses.sigreg import sigreg
      >>> z, rng = jax.random.normal(jax.random.key(0), (512, 16)), jax.random.key(1)
      >>> bool(sigreg(z, rng) < sigreg(0.1 * z, rng))
      True
    """
    ranges.check_integer("num_directions", num_directions, 1)
    directions = jax.random.normal(rng, (num_directions, z.shape[1]), acc_dtype(z))
    return epps_pulley(precise_einsum(z, l2_normalize(directions).T), knots).mean()


def epps_pulley(x: Array, knots: int = 17, reach: float = 3.0) -> Array:
    """B times the weighted squared distance of characteristic functions from the normal one.

    The integral over t of |phi_B(t) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) by the trapezoidal rule; it is
    even in t.

    Args:
      x: float [B, M], M samples of size B.
      knots: points of the rule, from 0 to `reach`.
      reach: largest t.

    Returns:
      float [M].

    Raises:
      ValueError: an argument is out of its range.
    """
    ranges.check_integer("knots", knots, 2)
    ranges.check_number("reach", reach, above=0)
    t = np.linspace(0, reach, knots)
    weights = np.full(knots, 2 * reach / (knots - 1))
    weights[[0, -1]] /= 2

    @jax.checkpoint  # Keeps x alone, not a sine and a cosine for each knot.
    def add(total, knot):
        t, normal, weight = knot
        real, imaginary = jnp.cos(t * x).mean(0) - normal, jnp.sin(t * x).mean(0)
        return total + weight * normal * (real**2 + imaginary**2), None

    rule = tuple(jnp.asarray(a, x.dtype) for a in (t, np.exp(-(t**2) / 2), weights))
    total, _ = jax.lax.scan(add, jnp.zeros(x.shape[1], x.dtype), rule)
    return len(x) * total
