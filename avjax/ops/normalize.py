"""Scaling of vectors to unit length."""

import jax
import jax.numpy as jnp

SMALLEST = 1e-12  # Lower bound of the norm that is divided by.


def l2_normalize(x: jax.Array) -> jax.Array:
    """Rows scaled to unit length, with a finite gradient everywhere.

    A row shorter than 1e-12 is divided by 1e-12 and has gradient 0: zeros stay zeros, and neither
    NaN nor a factor of 1e12 reaches earlier layers.

    Args:
      x: float [..., D]; computed in float32 at least.

    Returns:
      Array of the shape and dtype of x.
    """
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    square = jnp.sum(jnp.square(wide), axis=-1, keepdims=True)
    short = square < SMALLEST**2
    # Both branches of a `where` are differentiated, so the root must not see a zero.
    length = jnp.sqrt(jnp.where(short, SMALLEST**2, square))
    return (jnp.where(short, jax.lax.stop_gradient(wide), wide) / length).astype(x.dtype)
