"""uint8 frames: augmented on the device, and normalized to floats."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from avjax.config import ranges
from avjax.data.transforms.video import CHANGES, GRAY, Draw

HUE = CHANGES.index("hue")


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


def augmented(size: int):
    """A function batch -> batch, for jit, that does what avjax.data.transforms.video drew.

    "video" uint8 [B, T, short, long, 3] and "augment" float32 [B, 16] become "video" uint8
    [B, T, size, size, 3], equal to avjax.data.transforms.video.applied within one gray level.  Each
    example is for itself, so a batch that is split over devices moves nothing between them.
    """
    ranges.whole("size", size, 1)

    def change(batch):
        batch = dict(batch)
        draws = batch.pop("augment")
        return batch | {"video": jax.vmap(lambda x, d: _one(x, d, size))(batch["video"], draws)}

    return change


def _one(video, numbers, size):
    """A clip: uint8 [T, h, w, 3] and its draw [16] -> uint8 [T, size, size, 3]."""
    draw = Draw(*numbers)
    # Channels first: rows of three numbers would leave vector units idle.
    x = jnp.moveaxis(video, -1, 0).astype(jnp.float32)
    # In a transposed picture, left and right lie one below the other.
    mirrored = draw.mirrored * draw.transposed, draw.mirrored * (1 - draw.transposed)
    down = _weights(draw.top, draw.height, draw.rows, mirrored[0], video.shape[1], size)
    across = _weights(draw.left, draw.width, draw.columns, mirrored[1], video.shape[2], size)
    x = jnp.einsum("ih,cthw->ctiw", down, x, precision="highest")
    x = jnp.einsum("jw,ctiw->ctij", across, x, precision="highest")
    x = jnp.where(draw.transposed > 0, x.swapaxes(2, 3), x)
    x = _colored(x, draw, numbers[-len(CHANGES) :].astype(jnp.int32))
    return jnp.moveaxis(jnp.rint(x).astype(jnp.uint8), 0, -1)


def _weights(start, length, valid, mirrored, count, size):
    """What each of `size` outputs takes of `count` inputs: PIL's triangle filter, [size, count]."""
    scale = length / size
    output = jnp.arange(size, dtype=jnp.float32)
    output = jnp.where(mirrored > 0, size - 1 - output, output)
    middle = start + (output + 0.5) * scale
    place = jnp.arange(count, dtype=jnp.float32) + 0.5
    distance = jnp.abs(place[None, :] - middle[:, None]) / jnp.maximum(scale, 1)
    weight = jnp.maximum(0, 1 - distance) * (place < valid)[None, :]
    return weight / weight.sum(1, keepdims=True)


def _colored(x, draw, order):
    """The changes of color of [3, T, H, W], in their order.

    All but the turn of the hue are sums of the pixel, its gray and the mean gray.  The hue is
    turned once, between three such sums and three more, of which three do nothing.
    """
    b, c, s = draw.brightness, draw.contrast, draw.saturation
    sums = [[b, 0.0, 0.0], [c, 0.0, 1 - c], [s, 1 - s, 0.0], [1.0, 0.0, 0.0]]
    sums, nothing = jnp.array(sums)[order], jnp.array([[1.0, 0.0, 0.0]])
    place, hue = jnp.arange(len(CHANGES))[:, None], jnp.argmax(order == HUE)
    for shares in jnp.where(place < hue, sums, nothing)[:-1]:
        x = _summed(x, shares)
    x = jnp.clip(_turned(x, draw.hue), 0, 255)
    for shares in jnp.where(place > hue, sums, nothing)[1:]:
        x = _summed(x, shares)
    return x


def _summed(x, shares):
    """[3, T, H, W] as a sum of shares of the pixel, of its gray and of the mean gray."""
    gray = GRAY[0] * x[0] + GRAY[1] * x[1] + GRAY[2] * x[2]
    # Row by row: one long sum of float32 would lose digits.
    mean = gray.mean(-1).mean(-1).mean(-1)
    return jnp.clip(shares[0] * x + (shares[1] * gray + shares[2] * mean)[None], 0, 255)


def _turned(x, turn):
    """[3, T, H, W] with the hue turned by a share of the circle: in HSV, without a branch."""
    r, g, b = x
    high, low = jnp.maximum(jnp.maximum(r, g), b), jnp.minimum(jnp.minimum(r, g), b)
    chroma = high - low
    safe = jnp.where(chroma > 0, chroma, 1)
    # In sixths of the circle, from red.
    hue = jnp.where(high == g, 2 + (b - r) / safe, 4 + (r - g) / safe)
    hue = jnp.where(high == r, (g - b) / safe, hue) + 6 * turn
    # How far the three lie from the color, two sixths apart.
    away = [(hue + start) % 6 for start in (5, 3, 1)]
    return jnp.stack([high - chroma * jnp.clip(jnp.minimum(k, 4 - k), 0, 1) for k in away])
