"""Frames as uint8, augmented on the device, and normalized to the floats that nets take."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from avjax.config import ranges
from avjax.data.transforms.augment_params import COLOR_OPS, LUMA_WEIGHTS, AugmentParams
from avjax.data.transforms.requirements import requires
from avjax.types import Array, Batch

HUE_OP = COLOR_OPS.index("hue")


class Normalize(nn.Module):
    """uint8 [..., 3] in 0 ... 255 -> (x / 255 - mean) / std; ImageNet's values by default."""

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    dtype: str | jnp.dtype = jnp.float32

    def __call__(self, x: Array, train: bool) -> Array:
        shape = (1,) * (x.ndim - 1) + (3,)
        # One multiplication and one addition, in float32 whatever is made of them.
        a = jnp.array([1 / (255 * s) for s in self.std], jnp.float32).reshape(shape)
        b = jnp.array([-m / s for m, s in zip(self.mean, self.std)], jnp.float32).reshape(shape)
        return (x.astype(jnp.float32) * a + b).astype(self.dtype)


def apply_on_device(size: int) -> Callable[[Batch], Batch]:
    """Returns a function batch -> batch, for jit, that applies avjax.data.transforms.video's
    parameters.

    "video" uint8 [B, T, short, long, 3] and "augment" float32 [B, 16] become "video" uint8
    [B, T, size, size, 3], equal to avjax.data.transforms.video.apply_on_host within one gray level.
    Each example is independent, so a batch that is split over devices moves nothing between them.

    Args:
      size: pixels of each side.
    """
    ranges.check_integer("size", size, 1)

    @requires("video")
    def change(batch):
        batch = dict(batch)
        params = batch.pop("augment")
        return batch | {
            "video": jax.vmap(lambda x, d: _apply_to_clip(x, d, size))(batch["video"], params)
        }

    return change


def _apply_to_clip(video, numbers, size):
    """A clip: uint8 [T, h, w, 3] and its parameters [16] -> uint8 [T, size, size, 3]."""
    params = AugmentParams(*numbers)
    # Channels first: rows of three numbers would leave vector units idle.
    x = jnp.moveaxis(video, -1, 0).astype(jnp.float32)
    # In a transposed video, left and right lie one below the other.
    flipped = params.flipped * params.transposed, params.flipped * (1 - params.transposed)
    row_weights = _resize_weights(
        params.top, params.height, params.rows, flipped[0], video.shape[1], size
    )
    column_weights = _resize_weights(
        params.left, params.width, params.columns, flipped[1], video.shape[2], size
    )
    x = jnp.einsum("ih,cthw->ctiw", row_weights, x, precision="highest")
    x = jnp.einsum("jw,ctiw->ctij", column_weights, x, precision="highest")
    x = jnp.where(params.transposed > 0, x.swapaxes(2, 3), x)
    x = _jitter_colors(x, params, numbers[-len(COLOR_OPS) :].astype(jnp.int32))
    return jnp.moveaxis(jnp.rint(x).astype(jnp.uint8), 0, -1)


def _resize_weights(start, length, valid, flipped, count, size):
    """The weights of `count` inputs for `size` outputs: PIL's triangle filter, [size, count]."""
    scale = length / size
    output = jnp.arange(size, dtype=jnp.float32)
    output = jnp.where(flipped > 0, size - 1 - output, output)
    middle = start + (output + 0.5) * scale
    position = jnp.arange(count, dtype=jnp.float32) + 0.5
    distance = jnp.abs(position[None, :] - middle[:, None]) / jnp.maximum(scale, 1)
    weight = jnp.maximum(0, 1 - distance) * (position < valid)[None, :]
    return weight / weight.sum(1, keepdims=True)


def _jitter_colors(x, params, order):
    """The color changes of [3, T, H, W], in their order.

    All but the hue shift are sums of the pixel, its gray and the mean gray.  The hue is shifted
    once, between three such sums and three more, of which three do nothing.
    """
    b, c, s = params.brightness, params.contrast, params.saturation
    blends = [[b, 0.0, 0.0], [c, 0.0, 1 - c], [s, 1 - s, 0.0], [1.0, 0.0, 0.0]]
    blends, identity = jnp.array(blends)[order], jnp.array([[1.0, 0.0, 0.0]])
    position, hue = jnp.arange(len(COLOR_OPS))[:, None], jnp.argmax(order == HUE_OP)
    for weights in jnp.where(position < hue, blends, identity)[:-1]:
        x = _blend(x, weights)
    x = jnp.clip(_shift_hue(x, params.hue), 0, 255)
    for weights in jnp.where(position > hue, blends, identity)[1:]:
        x = _blend(x, weights)
    return x


def _blend(x, weights):
    """[3, T, H, W] as a weighted sum of the pixel, of its gray and of the mean gray."""
    gray = LUMA_WEIGHTS[0] * x[0] + LUMA_WEIGHTS[1] * x[1] + LUMA_WEIGHTS[2] * x[2]
    # Row by row: one long sum of float32 would lose digits.
    mean = gray.mean(-1).mean(-1).mean(-1)
    return jnp.clip(weights[0] * x + (weights[1] * gray + weights[2] * mean)[None], 0, 255)


def _shift_hue(x, hue_shift):
    """[3, T, H, W] with the hue shifted by a fraction of the circle: in HSV, without a branch."""
    r, g, b = x
    high, low = jnp.maximum(jnp.maximum(r, g), b), jnp.minimum(jnp.minimum(r, g), b)
    chroma = high - low
    safe = jnp.where(chroma > 0, chroma, 1)
    # In sixths of the circle, from red.
    hue = jnp.where(high == g, 2 + (b - r) / safe, 4 + (r - g) / safe)
    hue = jnp.where(high == r, (g - b) / safe, hue) + 6 * hue_shift
    # How far the three lie from the color, two sixths apart.
    away = [(hue + start) % 6 for start in (5, 3, 1)]
    return jnp.stack([high - chroma * jnp.clip(jnp.minimum(k, 4 - k), 0, 1) for k in away])
