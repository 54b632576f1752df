"""Pixels as they travel, uint8, to the floats that nets take."""

import flax.linen as nn
import jax.numpy as jnp


class Normalize(nn.Module):
    """uint8 [..., 3] in 0 ... 255 -> (x / 255 - mean) / std; ImageNet's values by default."""

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    dtype: str | jnp.dtype = jnp.float32

    def __call__(self, x, train: bool):
        shape = (1,) * (x.ndim - 1) + (3,)
        # One multiplication and one addition, in float32 whatever is made of them.
        a = jnp.array([1 / (255 * s) for s in self.std], jnp.float32).reshape(shape)
        b = jnp.array([-m / s for m, s in zip(self.mean, self.std)], jnp.float32).reshape(shape)
        return (x.astype(jnp.float32) * a + b).astype(self.dtype)
