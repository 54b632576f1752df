"""Transforms of the video: random parameters per clip, and their application.

`random_crop_color_jitter` and `center_crop` only sample parameters.  They fit the frames into a
fixed size, uint8 [T, short, long, 3], and add the key "augment", float32 [16]: an AugmentParams.
`apply_on_host` applies it, example by example, in the worker processes;
avjax.nets.frontends.pixels.apply_on_device does the same for a whole batch on the device.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from avjax.config import ranges
from avjax.data.transforms.augment_params import COLOR_OPS, AugmentParams
from avjax.data.transforms.color_jitter import jitter_colors
from avjax.data.transforms.requirements import requires

SMALL_FRAME_PIXELS = 64 * 64  # Up to this size all frames are scaled in two calls.


def random_crop_color_jitter(
    frame_size: tuple[int, int] = (128, 228),
    area_range: tuple[float, float] = (0.08, 1.0),
    aspect_ratio_range: tuple[float, float] = (3 / 4, 4 / 3),
    flip_prob: float = 0.5,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
    hue: float = 0.2,
    jitter_prob: float = 1.0,
) -> Callable[[dict, np.random.Generator], dict]:
    """Samples a random resized crop, a horizontal flip and color jitter.

    The crop has a fraction U(area_range) of the area and a log-uniform aspect ratio (Going Deeper
    with Convolutions, https://arxiv.org/abs/1409.4842, section 6).  Brightness, contrast and
    saturation are U(1 - x, 1 + x), the hue shift is U(-hue, hue), all in random order and with
    torchvision's meaning; the contrast is about the mean gray of the clip.

    Args:
      frame_size: (shorter, longer) side of the stored frames, in pixels.
      area_range: (min, max) fraction of the area.
      aspect_ratio_range: (min, max) width / height of the crop.
      flip_prob: probability of a horizontal flip.
      brightness, contrast, saturation, hue: strengths of the jitter, 0 to 10; hue to 0.5.
      jitter_prob: probability that a clip's colors change at all.
    """
    # Paper: torchvision's contrast is about each frame's own mean gray; here it is the clip's,
    # so that all frames change alike.
    _check_frame_size(frame_size)
    ranges.check_interval("area_range", area_range, 0, 1)
    ranges.check_interval("aspect_ratio_range", aspect_ratio_range, 0, 100)
    ranges.check_number("flip_prob", flip_prob, minimum=0, maximum=1)
    for name, amount in zip(COLOR_OPS, (brightness, contrast, saturation)):
        ranges.check_number(name, amount, minimum=0, maximum=10)
    ranges.check_number(
        "hue", hue, minimum=0, maximum=0.5
    )  # Half of the circle, either way, is all of it.
    ranges.check_number("jitter_prob", jitter_prob, minimum=0, maximum=1)

    @requires("video")
    def transform(example, rng):
        video, rows, columns, transposed = _fit_to_frame_size(_get_video(example), frame_size)
        upright = (columns, rows) if transposed else (rows, columns)
        top, left, height, width = _sample_crop(rng, *upright, area_range, aspect_ratio_range)
        box = (left, top, width, height) if transposed else (top, left, height, width)
        flipped = rng.random() < flip_prob
        factors = [rng.uniform(max(0.0, 1 - x), 1 + x) for x in (brightness, contrast, saturation)]
        hue_shift, order = rng.uniform(-hue, hue), rng.permutation(len(COLOR_OPS))
        geometry = *box, rows, columns, transposed, flipped
        # Drawn last, and only where it matters: the other numbers do not depend on jitter_prob.
        jittered = jitter_prob == 1 or rng.random() < jitter_prob
        color = (*factors, hue_shift, *order) if jittered else ()
        params = AugmentParams(*geometry, *color)
        return {**example, "video": video, "augment": np.array(params, np.float32)}

    return transform


def center_crop(
    frame_size: tuple[int, int] = (128, 228), crop_fraction: float = 0.875
) -> Callable[[dict, np.random.Generator], dict]:
    """Takes the central square of the video.

    Args:
      frame_size: (shorter, longer) side of the stored frames, in pixels.
      crop_fraction: side of the square, as a fraction of the shorter side of the video.
    """
    _check_frame_size(frame_size)
    ranges.check_number("crop_fraction", crop_fraction, above=0, maximum=1)

    @requires("video")
    def transform(example, rng):
        del rng
        video, rows, columns, transposed = _fit_to_frame_size(_get_video(example), frame_size)
        side = rows * crop_fraction  # Rows are the shorter side.
        box = (rows - side) / 2, (columns - side) / 2, side, side
        params = AugmentParams(*box, rows, columns, transposed, False)
        return {**example, "video": video, "augment": np.array(params, np.float32)}

    return transform


def apply_on_host(size: int) -> Callable[[dict, np.random.Generator], dict]:
    """Applies the parameters: "video" becomes uint8 [T, size, size, 3], and "augment" is removed.

    The crop is resized by PIL's antialiased bilinear filter, which sees pixels beyond the crop but
    not beyond the video.  All is float32 and clipped to 0 ... 255 after each change; it is rounded
    once, at the end.

    Args:
      size: side of the resulting frames, in pixels.
    """
    ranges.check_integer("size", size, 1)

    @requires("video")
    def transform(example, rng):
        del rng
        example = dict(example)
        params = AugmentParams(*example.pop("augment").tolist())
        stacked = jitter_colors(_crop_and_resize(example["video"], params, size), params)
        video = np.rint(stacked, out=stacked).astype(np.uint8).reshape(-1, size, size, 3)
        video = video.swapaxes(1, 2) if params.transposed else video
        return {**example, "video": video[:, :, ::-1] if params.flipped else video}

    return transform


def _check_frame_size(frame_size):
    if len(frame_size) != 2:
        raise ValueError(
            f"frame_size={frame_size}: give two numbers of pixels, the shorter side first"
        )
    for pixels in frame_size:
        ranges.check_integer("frame_size", pixels, 1)
    if not 0 < frame_size[0] <= frame_size[1]:
        raise ValueError(f"frame_size={frame_size}: give the shorter side first, in pixels")


def _get_video(example):
    if "video" not in example:
        raise ValueError(
            "no frames to transform: set num_frames of the clip sampler above 0, or leave out the "
            "transforms "
            "of avjax.data.transforms.video"
        )
    return example["video"]


def _fit_to_frame_size(video, frame_size):
    """Fits frames into frame_size: (uint8 [T, short, long, 3], rows and columns of video,
    transposed).

    They are scaled to the short side, unless decoding has; the rest of a longer video is cut off
    at both ends, and a shorter one is padded with zeros.
    """
    # Paper: random crops are of the whole video as it is stored; here they are of this canvas.
    transposed = video.shape[1] > video.shape[2]
    video = video.swapaxes(1, 2) if transposed else video
    (short, long), (height, width) = frame_size, video.shape[1:3]
    kept_width = min(width, math.ceil(height * long / short))  # Cut first: a strip could grow huge.
    video = video[:, :, (width - kept_width) // 2 :][:, :, :kept_width]
    columns = min(long, round(kept_width * short / height))
    if video.shape[1:3] == (short, long):
        return video, short, long, transposed
    interpolation = cv2.INTER_AREA if height > short else cv2.INTER_LINEAR
    out = np.zeros((len(video), short, long, 3), np.uint8)
    for frame, target in zip(video, out):
        same = frame.shape[:2] == (short, columns)
        frame = np.ascontiguousarray(frame)
        target[:, :columns] = (
            frame if same else cv2.resize(frame, (columns, short), None, 0, 0, interpolation)
        )
    return out, short, columns, transposed


def _sample_crop(rng, height, width, area_range, aspect_ratio_range):
    """Top, left, height and width of a crop; the largest central one after ten failures."""
    for _ in range(10):
        pixels = height * width * rng.uniform(*area_range)
        ratio = math.exp(
            rng.uniform(math.log(aspect_ratio_range[0]), math.log(aspect_ratio_range[1]))
        )
        w, h = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    w = min(width, max(1, round(height * aspect_ratio_range[1])))
    h = min(height, max(1, round(width / aspect_ratio_range[0])))
    return (height - h) // 2, (width - w) // 2, h, w


def _crop_and_resize(video, params, size):
    """The crop of each frame, one below the other: float32 [T * size, size, 3]."""
    video = video[:, : int(params.rows), : int(params.columns)]
    left, top = params.left, params.top
    right, bottom = left + params.width, top + params.height
    frames, height, width = video.shape[:3]
    # One channel at a time and as floats: PIL's frames of three are rounded on the way.
    if max(height * width, size**2) > SMALL_FRAME_PIXELS:
        out = np.empty((frames, size, size, 3), np.float32)
        for frame, scaled in zip(video, out):
            for channel, plane in enumerate(cv2.split(frame)):
                scaled[..., channel] = _resize(plane, (size, size), (left, top, right, bottom))
        return out.reshape(-1, size, 3)
    rows = video.transpose(0, 3, 1, 2).reshape(-1, width)
    rows = _resize(rows, (size, len(rows)), (left, 0, right, len(rows)))
    columns = rows.reshape(-1, height, size).swapaxes(0, 1).reshape(height, -1)
    length = columns.shape[1]
    out = _resize(columns, (length, size), (0, top, length, bottom))
    out = out.reshape(size, frames, 3, size).transpose(1, 0, 3, 2)
    return np.array(out, order="C").reshape(-1, size, 3)  # A copy: PIL's own may not be written.


def _resize(plane, size, box):
    """float32 [height, width] of size = (width, height)."""
    picture = Image.fromarray(plane).convert("F")
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR, box))
