"""Transforms of the picture: what is drawn for a clip, and what that makes of it.

`augment` and `center` only draw.  They lay the frames on a canvas of fixed size, uint8
[T, short, long, 3], and write into "augment", float32 [16], what shall become of them: a
`Draw`.  `applied` does it, example by example, in the processes that decode;
avjax.nets.frontends.pixels.augmented does the same with a whole batch on the device.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from avjax.config import ranges

GRAY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma, as PIL and torchvision weigh R, G and B.
SMALL = 64 * 64  # Pixels up to which frames are scaled in two calls for all, not one by one.
CHANGES = ("brightness", "contrast", "saturation", "hue")  # Counted from 0 in a Draw's order.


class Draw(NamedTuple):
    """One draw for all frames of a clip.

    top ... width:     the box that becomes the picture, in pixels of the canvas.
    rows, columns:     of the canvas that are picture; the rest must not be seen.
    transposed:        1 where the canvas shows a portrait picture, columns for rows.
    mirrored:          1 where left and right of the upright picture change places.
    brightness ... saturation: factors; 1 changes nothing.
    hue:               the turn of the color circle, as a share of it.
    first ... fourth:  the order of the changes: positions in CHANGES.
    """

    top: float
    left: float
    height: float
    width: float
    rows: float
    columns: float
    transposed: float
    mirrored: float
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    first: float = 0.0
    second: float = 1.0
    third: float = 2.0
    fourth: float = 3.0


UNCHANGED = Draw(*[0.0] * 8)


def augment(
    canvas: tuple[int, int] = (128, 228),
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
    flip: float = 0.5,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
    hue: float = 0.2,
    jitter_p: float = 1.0,
):
    """Draws a random part of the picture, its mirroring and its colors.

    The part is U(area) of the picture and of an aspect between those given, evenly in the
    logarithm (Going Deeper with Convolutions, https://arxiv.org/abs/1409.4842, section 6).
    Factors of the colors are U(1 - x, 1 + x), the turn of the hue U(-hue, hue), all in random
    order and with torchvision's meaning; the contrast is about the mean gray of the clip.

    Args:
      jitter_p: probability that a clip's colors change at all.
    """
    # Paper: torchvision's contrast is about each frame's own mean gray; here it is the clip's,
    # so that all frames change alike.
    _check(canvas)
    ranges.rising("area", area, 0, 1)
    ranges.rising("aspect", aspect, 0, 100)
    ranges.number("flip", flip, least=0, most=1)
    for name, amount in zip(CHANGES, (brightness, contrast, saturation)):
        ranges.number(name, amount, least=0, most=10)
    ranges.number("hue", hue, least=0, most=0.5)  # Half of the circle, either way, is all of it.
    ranges.number("jitter_p", jitter_p, least=0, most=1)

    def transform(example, rng):
        video, rows, columns, transposed = _laid(_frames(example), canvas)
        upright = (columns, rows) if transposed else (rows, columns)
        top, left, height, width = _draw_crop(rng, *upright, area, aspect)
        box = (left, top, width, height) if transposed else (top, left, height, width)
        mirrored = rng.random() < flip
        factors = [rng.uniform(max(0.0, 1 - x), 1 + x) for x in (brightness, contrast, saturation)]
        turn, order = rng.uniform(-hue, hue), rng.permutation(len(CHANGES))
        placed = *box, rows, columns, transposed, mirrored
        # Drawn last, and only where it matters: the other numbers do not depend on jitter_p.
        jittered = jitter_p == 1 or rng.random() < jitter_p
        draw = Draw(*placed, *factors, turn, *order) if jittered else Draw(*placed)
        return {**example, "video": video, "augment": np.array(draw, np.float32)}

    return transform


def center(canvas: tuple[int, int] = (128, 228), share: float = 0.875):
    """Draws nothing: the square in the middle, of a share of the picture's shorter side."""
    _check(canvas)
    ranges.number("share", share, above=0, most=1)

    def transform(example, rng):
        del rng
        video, rows, columns, transposed = _laid(_frames(example), canvas)
        side = rows * share  # Rows are the shorter side.
        box = (rows - side) / 2, (columns - side) / 2, side, side
        draw = Draw(*box, rows, columns, transposed, False)
        return {**example, "video": video, "augment": np.array(draw, np.float32)}

    return transform


def applied(size: int):
    """Does what was drawn: "video" becomes uint8 [T, size, size, 3], and "augment" goes.

    The box is scaled by PIL's antialiased bilinear filter, which sees what lies beyond the box
    but not beyond the picture.  All is float32 and clipped to 0 ... 255 after each change;
    it is rounded once, at the end.
    """
    ranges.whole("size", size, 1)

    def transform(example, rng):
        del rng
        example = dict(example)
        draw = Draw(*example.pop("augment").tolist())
        tall = _recolored(_scaled(example["video"], draw, size), draw)
        video = np.rint(tall, out=tall).astype(np.uint8).reshape(-1, size, size, 3)
        video = video.swapaxes(1, 2) if draw.transposed else video
        return {**example, "video": video[:, :, ::-1] if draw.mirrored else video}

    return transform


def _check(canvas):
    if len(canvas) != 2:
        raise ValueError(f"canvas={canvas}: give two numbers of pixels, the shorter side first")
    for pixels in canvas:
        ranges.whole("canvas", pixels, 1)
    if not 0 < canvas[0] <= canvas[1]:
        raise ValueError(f"canvas={canvas}: give the shorter side first, in pixels")


def _frames(example):
    if "video" not in example:
        raise ValueError(
            "no frames to transform: set frames of the view above 0, or leave out the transforms "
            "of avjax.data.transforms.video"
        )
    return example["video"]


def _laid(video, canvas):
    """Frames on a canvas: (uint8 [T, short, long, 3], rows and columns of picture, transposed).

    They are scaled to the short side, unless decoding has; what then is longer than the
    canvas is cut from both ends, and what is shorter filled up with zeros.
    """
    # Paper: random crops are of the whole picture as it is stored; here they are of this canvas.
    transposed = video.shape[1] > video.shape[2]
    video = video.swapaxes(1, 2) if transposed else video
    (short, long), (height, width) = canvas, video.shape[1:3]
    kept = min(width, math.ceil(height * long / short))  # Cut first: a strip could grow huge.
    video = video[:, :, (width - kept) // 2 :][:, :, :kept]
    columns = min(long, round(kept * short / height))
    if video.shape[1:3] == (short, long):
        return video, short, long, transposed
    how = cv2.INTER_AREA if height > short else cv2.INTER_LINEAR
    out = np.zeros((len(video), short, long, 3), np.uint8)
    for frame, laid in zip(video, out):
        same = frame.shape[:2] == (short, columns)
        frame = np.ascontiguousarray(frame)
        laid[:, :columns] = frame if same else cv2.resize(frame, (columns, short), None, 0, 0, how)
    return out, short, columns, transposed


def _draw_crop(rng, height, width, area, aspect):
    """Top, left, height and width of a crop; the largest central one after ten failures."""
    for _ in range(10):
        pixels = height * width * rng.uniform(*area)
        ratio = math.exp(rng.uniform(math.log(aspect[0]), math.log(aspect[1])))
        w, h = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    w = min(width, max(1, round(height * aspect[1])))
    h = min(height, max(1, round(width / aspect[0])))
    return (height - h) // 2, (width - w) // 2, h, w


def _scaled(video, draw, size):
    """The box of each frame, one below the other: float32 [T * size, size, 3]."""
    video = video[:, : int(draw.rows), : int(draw.columns)]
    left, top = draw.left, draw.top
    right, bottom = left + draw.width, top + draw.height
    frames, height, width = video.shape[:3]
    # One channel at a time and as floats: PIL's pictures of three are rounded on the way.
    if max(height * width, size**2) > SMALL:
        out = np.empty((frames, size, size, 3), np.float32)
        for frame, scaled in zip(video, out):
            for channel, plane in enumerate(cv2.split(frame)):
                scaled[..., channel] = _resized(plane, (size, size), (left, top, right, bottom))
        return out.reshape(-1, size, 3)
    rows = video.transpose(0, 3, 1, 2).reshape(-1, width)
    rows = _resized(rows, (size, len(rows)), (left, 0, right, len(rows)))
    columns = rows.reshape(-1, height, size).swapaxes(0, 1).reshape(height, -1)
    length = columns.shape[1]
    out = _resized(columns, (length, size), (0, top, length, bottom))
    out = out.reshape(size, frames, 3, size).transpose(1, 0, 3, 2)
    return np.array(out, order="C").reshape(-1, size, 3)  # A copy: PIL's own may not be written.


def _resized(plane, size, box):
    """float32 [height, width] of size = (width, height)."""
    picture = Image.fromarray(plane).convert("F")
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR, box))


def _recolored(image, draw):
    """float32 [H, W, 3] in 0 ... 255 with its colors changed in the order drawn; overwrites it."""
    other = np.empty_like(image)  # Two buffers in turn: new memory costs more than the sums.
    for k in draw[-len(CHANGES) :]:
        name = CHANGES[int(k)]
        amount = getattr(draw, name)
        if amount == getattr(UNCHANGED, name):
            continue
        if name == "hue":
            cv2.cvtColor(image, cv2.COLOR_RGB2HSV, other)
            hue = other[..., 0]
            hue += 360 * (amount % 1)
            np.subtract(hue, 360, out=hue, where=hue >= 360)
            cv2.cvtColor(other, cv2.COLOR_HSV2RGB, image)
        else:  # Mixed with what is left of the picture at 0, from a pixel's R, G, B and 1.
            rest = np.zeros((3, 4))
            if name == "contrast":
                rest[:, 3] = np.dot(cv2.mean(image)[:3], GRAY)
            elif name == "saturation":
                rest[:, :3] = GRAY
            cv2.transform(image, np.eye(3, 4) * amount + rest * (1 - amount), other)
            image, other = other, image
        np.clip(image, 0, 255, out=image)
    return image
