"""Transforms of the picture, on uint8 [T, H, W, 3]: one draw for all frames of a clip."""

import math

import cv2
import numpy as np

GRAY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma, as PIL and torchvision weigh R, G and B.


def random_resized_crop(size, area=(0.08, 1.0), aspect=(3 / 4, 4 / 3)):
    """Cuts a random part, of U(area) of the picture, and scales it to size x size.

    Going Deeper with Convolutions, https://arxiv.org/abs/1409.4842, section 6.
    """

    def transform(example, rng):
        video = example["video"]
        top, left, height, width = _draw_crop(rng, *video.shape[1:3], area, aspect)
        part = video[:, top : top + height, left : left + width]
        return {**example, "video": _resize(part, size, size)}

    return transform


def flip(probability=0.5):
    """Mirrors left and right with the given probability."""

    def transform(example, rng):
        mirrored = rng.random() < probability
        return {**example, "video": example["video"][:, :, ::-1]} if mirrored else example

    return transform


def color_jitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2):
    """Changes the colors: factors U(1 - x, 1 + x), a turn of hue U(-hue, hue), in random order.

    The meaning of each is torchvision's; the contrast is about the mean of the clip.
    """

    def transform(example, rng):
        video = example["video"]
        steps = [
            (_brightness, _factor(rng, brightness)),
            (_contrast, _factor(rng, contrast)),
            (_saturation, _factor(rng, saturation)),
            (_hue, rng.uniform(-hue, hue)),
        ]
        # All frames at once, as one tall picture.
        tall = np.ascontiguousarray(video).reshape(-1, video.shape[2], 3)
        for i in rng.permutation(len(steps)):
            change, amount = steps[i]
            tall = change(tall, amount)
        return {**example, "video": tall.reshape(video.shape)}

    return transform


def center_crop(size):
    """Scales the shorter side to int(size / 0.875) and cuts the middle size x size."""

    def transform(example, rng):
        del rng
        height, width = example["video"].shape[1:3]
        scale = int(size / 0.875) / min(height, width)
        video = _resize(example["video"], round(height * scale), round(width * scale))
        top, left = (video.shape[1] - size) // 2, (video.shape[2] - size) // 2
        return {**example, "video": video[:, top : top + size, left : left + size]}

    return transform


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


def _resize(video, height, width):
    """Scales frames, bilinearly; averages areas where it shrinks, lest fine patterns alias.

    The mean over areas is the nearer to the antialiased filter of the reference (PIL's):
    shrinking 1.8 times, 1.4 gray levels off against 3.5.  It costs five times as much, so
    it is left out where there is little to alias.
    """
    if video.shape[1:3] == (height, width):
        return video
    shrink = max(video.shape[1] / height, video.shape[2] / width)
    how = cv2.INTER_AREA if shrink > 1.5 else cv2.INTER_LINEAR
    out = np.empty((len(video), height, width, 3), np.uint8)
    for frame, scaled in zip(video, out):
        cv2.resize(frame, (width, height), dst=scaled, interpolation=how)
    return out


def _factor(rng, amount):
    return rng.uniform(max(0.0, 1.0 - amount), 1.0 + amount)


def _brightness(image, factor):
    return cv2.LUT(image, _table(np.arange(256) * factor))


def _contrast(image, factor):
    mean = np.dot(cv2.mean(image)[:3], GRAY)
    return cv2.LUT(image, _table(np.arange(256) * factor + mean * (1.0 - factor)))


def _saturation(image, factor):
    return cv2.transform(image, np.eye(3) * factor + np.tile(GRAY, (3, 1)) * (1.0 - factor))


def _hue(image, turn):
    """Turns the hue by a share of the full circle, in 256 steps."""
    steps = round(turn * 256) % 256
    if steps == 0:
        return image
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(steps)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def _table(values):
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
