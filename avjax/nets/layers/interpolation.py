"""Every few clips of a video, interpolated back to all of them."""

import jax.numpy as jnp
import numpy as np

from avjax.types import Array


def between_clips(x: Array, valid: Array, every: int) -> Array:
    """Keeps clips 0, every, 2 * every ... and interpolates linearly between them.

    Clips after the last kept one of a video are equal to it.

    Args:
      x: float [B, N, D].
      valid: bool [B, N], False for padding, which has no influence.
      every: distance of kept clips.

    Returns:
      [B, N, D], 0 where not valid.
    """
    # Reference: `half_pixel`, which moves the kept clips by half of their distance.
    position = np.arange(x.shape[1]) / every
    return _interpolate(x, valid, every, position, valid)


def half_pixel(x: Array, valid: Array, every: int) -> Array:
    """The same as the published program does it, with PyTorch's align_corners=False.

    A kept clip is taken to lie in the middle of those it stands for, and padding counts as 0.

    Args, Returns: as of `between_clips`.
    """
    count = x.shape[1]
    position = np.maximum((np.arange(count) + 0.5) * (-(-count // every) / count) - 0.5, 0)
    return _interpolate(x, valid, every, position, jnp.ones_like(valid))


def _interpolate(x, valid, every, position, counts):
    """position: [N], of each clip among the kept ones; counts: bool [B, N], what has influence."""
    kept, counts = x[:, ::every], counts[:, ::every].astype(x.dtype)
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, kept.shape[1] - 1)
    share = jnp.asarray(position - low, x.dtype)[None]
    weights = (1 - share) * counts[:, low], share * counts[:, high]
    total = jnp.maximum(weights[0] + weights[1], 1e-12)
    y = sum(w[..., None] * kept[:, at] for w, at in zip(weights, (low, high)))
    return jnp.where(valid[..., None], y / total[..., None], 0)
