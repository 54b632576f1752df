"""Frames of the synthetic world: shapes on a canvas, a backdrop, and a camera that looks at it.

Scenes draw in units: the square from 0 to 1 is about what the camera sees, x to the
right and y down.  The canvas reaches `MARGIN` further on each side, so that the camera
can pan without showing an edge.  Colors are (red, green, blue), 0 to 255.
"""

import colorsys
import math
from typing import NamedTuple

import cv2
import numpy as np

MARGIN = 0.16
FINE = 4  # OpenCV draws at 1/16 of a pixel: without it, slow motion goes in jerks.


class Canvas(NamedTuple):
    image: np.ndarray  # uint8 [side, side, 3]
    unit: float  # Pixels a unit.


def side(size):
    """The canvas's side in pixels, for frames of `size` pixels."""
    return round(size * (1 + 2 * MARGIN))


def color(hue, saturation=0.9, value=0.95):
    """The color of a hue from 0 (red) to 1 (violet): not round the circle, so near is alike."""
    return tuple(round(255 * c) for c in colorsys.hsv_to_rgb(0.78 * hue, saturation, value))


def shade(ink, amount):
    """`ink` made darker (amount below 1) or lighter (above)."""
    return tuple(min(255, round(c * amount)) for c in ink)


def pixel(page, x, y):
    """The point (x, y) in OpenCV's fine fixed-point pixels."""
    scale = page.unit * 2**FINE
    return round((x + MARGIN) * scale), round((y + MARGIN) * scale)


def disc(page, x, y, radius, ink, squash=1.0):
    """A filled disc; `squash` below 1 makes it flat and wide, as a ball that hits the floor."""
    scale = page.unit * 2**FINE
    axes = round(radius * scale / squash), round(radius * scale * squash)
    cv2.ellipse(page.image, pixel(page, x, y), axes, 0, 0, 360, ink, -1, cv2.LINE_AA, shift=FINE)


def circle(page, x, y, radius, ink, width=0.02, flat=1.0):
    """The outline of a disc, or of an ellipse `flat` times as high as wide."""
    scale = page.unit * 2**FINE
    axes = round(radius * scale), round(radius * scale * flat)
    thick = max(1, round(width * page.unit))
    cv2.ellipse(page.image, pixel(page, x, y), axes, 0, 0, 360, ink, thick, cv2.LINE_AA, shift=FINE)


def line(page, points, ink, width=0.02):
    """Straight lines from each of the points [(x, y), ...] to the next."""
    path = np.array([pixel(page, x, y) for x, y in points], np.int32)
    thick = max(1, round(width * page.unit))
    cv2.polylines(page.image, [path], False, ink, thick, cv2.LINE_AA, shift=FINE)


def polygon(page, points, ink):
    """A filled shape with the corners [(x, y), ...]."""
    path = np.array([pixel(page, x, y) for x, y in points], np.int32)
    cv2.fillPoly(page.image, [path], ink, cv2.LINE_AA, shift=FINE)


def box(page, left, top, right, bottom, ink):
    """A filled upright rectangle."""
    polygon(page, [(left, top), (right, top), (right, bottom), (left, bottom)], ink)


def glow(page, x, y, radius, ink, strength):
    """Light around a point: the canvas's own colors mixed with `ink`, `strength` from 0 to 1."""
    lit = Canvas(page.image.copy(), page.unit)
    disc(lit, x, y, radius, ink)
    cv2.addWeighted(lit.image, strength, page.image, 1 - strength, 0, dst=page.image)


def burst(page, x, y, inner, outer, ink, rays=8, width=0.015):
    """Short rays around a point: something has just hit here."""
    for k in range(rays):
        c, s = math.cos(2 * math.pi * k / rays), math.sin(2 * math.pi * k / rays)
        line(page, [(x + inner * c, y + inner * s), (x + outer * c, y + outer * s)], ink, width)


def backdrop(rng, pixels):
    """A random background, uint8 [pixels, pixels, 3]: a gradient, clouds, sometimes stripes."""
    ends = np.array(
        [color(rng.random(), rng.uniform(0, 0.7), rng.uniform(0.1, 0.75)) for _ in "ab"]
    )
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[0:pixels, 0:pixels] / pixels - 0.5
    along = (x * math.cos(angle) + y * math.sin(angle)) / 1.42 + 0.5
    image = ends[0] + (ends[1] - ends[0]) * along[..., None]
    grid = int(rng.integers(3, 12))
    clouds = rng.uniform(-1, 1, (grid, grid, 3)).astype(np.float32)
    clouds = cv2.resize(clouds, (pixels, pixels), interpolation=cv2.INTER_CUBIC)
    image += rng.uniform(5, 35) * clouds
    if rng.random() < 0.4:
        across = x * math.sin(angle) - y * math.cos(angle)
        image += (rng.uniform(8, 25) * np.sin(across * rng.uniform(15, 60)))[..., None]
    return np.clip(image, 0, 255).astype(np.uint8)


def distractors(rng):
    """(page, t) -> None that draws two to four silent shapes which drift and turn."""
    shapes = []
    for _ in range(int(rng.integers(2, 5))):
        start, drift = rng.uniform(-0.05, 1.05, 2), rng.uniform(-0.09, 0.09, 2)
        ink = color(rng.random(), rng.uniform(0.2, 0.9), rng.uniform(0.3, 0.85))
        corners, radius = int(rng.integers(2, 7)), rng.uniform(0.04, 0.11)
        shapes.append((start, drift, ink, corners, radius, rng.uniform(-1.5, 1.5)))

    def draw(page, t):
        for start, drift, ink, corners, radius, turn in shapes:
            x, y = start + drift * t
            if corners == 2:  # No polygon has two corners: a disc.
                disc(page, x, y, radius, ink)
                continue
            angles = [turn * t + 2 * math.pi * k / corners for k in range(corners)]
            polygon(
                page,
                [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles],
                ink,
            )

    return draw


def camera(rng, size, seconds):
    """(page, t) -> uint8 [size, size, 3]: a slow pan and zoom, perhaps mirrored, with noise."""
    start, end = rng.uniform(-0.06, 0.06, (2, 2))
    zoom = rng.uniform(0.92, 1.08, 2)
    tilt = rng.uniform(-0.06, 0.06)
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    level = int(rng.integers(2, 7))
    grain = rng.integers(-level, level + 1, (5, size, size, 3), np.int8)
    c, s = math.cos(tilt), math.sin(tilt)

    def shoot(page, t):
        part = t / seconds
        x, y = (start + (end - start) * part + 0.5 + MARGIN) * page.unit
        scale = (zoom[0] + (zoom[1] - zoom[0]) * part) * size / page.unit
        turn = scale * np.array([[mirror * c, mirror * -s], [s, c]])
        shift = size / 2 - turn @ np.array([x, y])
        matrix = np.concatenate([turn, shift[:, None]], axis=1)
        image = cv2.warpAffine(page.image, matrix, (size, size), borderMode=cv2.BORDER_REFLECT)
        return cv2.add(image, grain[int(t * 97) % len(grain)], dtype=cv2.CV_8U)

    return shoot
