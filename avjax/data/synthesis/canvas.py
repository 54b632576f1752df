"""Frames of the synthetic world: shapes on a canvas, a backdrop, and a camera that looks at it.

Scenes draw in units: the square from 0 to 1 is about what the camera sees, x to the
right and y down.  The canvas reaches `MARGIN` further on each side, so that the camera
can pan without showing an edge.

The drawing functions change `page` in place.  Coordinates, radii and widths are in units, colors
(`ink`) are (red, green, blue), 0 to 255.
"""

import colorsys
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

MARGIN = 0.16
FINE = 4  # OpenCV draws at 1/16 of a pixel: without it, slow motion goes in jerks.


class Canvas(NamedTuple):
    """A square image to draw on, and its scale."""

    image: np.ndarray  # uint8 [side, side, 3]
    unit: float  # Pixels a unit.


def side(size: int) -> int:
    """Returns the side of the canvas in pixels.

    Args:
      size: side of the frames, in pixels.
    """
    return round(size * (1 + 2 * MARGIN))


def color(hue: float, saturation: float = 0.9, value: float = 0.95) -> tuple[int, int, int]:
    """Returns the color of a hue; the ends of the range differ, so that near hues look alike.

    Args:
      hue: 0 (red) to 1 (violet).
      saturation, value: 0 to 1, as in HSV.

    Returns:
      (red, green, blue), 0 to 255.
    """
    red, green, blue = colorsys.hsv_to_rgb(0.78 * hue, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def shade(ink: tuple[int, int, int], amount: float) -> tuple[int, int, int]:
    """Returns a darker or lighter color.

    Args:
      amount: factor of the brightness; below 1 is darker.
    """
    red, green, blue = (min(255, round(c * amount)) for c in ink)
    return red, green, blue


def pixel(page: Canvas, x: float, y: float) -> tuple[int, int]:
    """Returns the point (x, y) in OpenCV's fixed-point pixels, with FINE fractional bits."""
    scale = page.unit * 2**FINE
    return round((x + MARGIN) * scale), round((y + MARGIN) * scale)


def disc(
    page: Canvas, x: float, y: float, radius: float, ink: tuple[int, int, int], squash: float = 1.0
) -> None:
    """Draws a filled disc.

    Args:
      squash: below 1 flattens and widens the disc, as a ball that hits the floor.
    """
    scale = page.unit * 2**FINE
    axes = round(radius * scale / squash), round(radius * scale * squash)
    cv2.ellipse(page.image, pixel(page, x, y), axes, 0, 0, 360, ink, -1, cv2.LINE_AA, shift=FINE)


def circle(
    page: Canvas,
    x: float,
    y: float,
    radius: float,
    ink: tuple[int, int, int],
    width: float = 0.02,
    flat: float = 1.0,
) -> None:
    """Draws the outline of a disc or an ellipse.

    Args:
      flat: height / width of the ellipse.
    """
    scale = page.unit * 2**FINE
    axes = round(radius * scale), round(radius * scale * flat)
    thickness = max(1, round(width * page.unit))
    cv2.ellipse(
        page.image, pixel(page, x, y), axes, 0, 0, 360, ink, thickness, cv2.LINE_AA, shift=FINE
    )


def line(
    page: Canvas,
    points: Sequence[tuple[float, float]],
    ink: tuple[int, int, int],
    width: float = 0.02,
) -> None:
    """Draws straight lines from each point to the next."""
    path = np.array([pixel(page, x, y) for x, y in points], np.int32)
    thickness = max(1, round(width * page.unit))
    cv2.polylines(page.image, [path], False, ink, thickness, cv2.LINE_AA, shift=FINE)


def polygon(page: Canvas, points: Sequence[tuple[float, float]], ink: tuple[int, int, int]) -> None:
    """Draws a filled polygon."""
    path = np.array([pixel(page, x, y) for x, y in points], np.int32)
    cv2.fillPoly(page.image, [path], ink, cv2.LINE_AA, shift=FINE)


def box(
    page: Canvas, left: float, top: float, right: float, bottom: float, ink: tuple[int, int, int]
) -> None:
    """Draws a filled upright rectangle."""
    polygon(page, [(left, top), (right, top), (right, bottom), (left, bottom)], ink)


def glow(
    page: Canvas, x: float, y: float, radius: float, ink: tuple[int, int, int], strength: float
) -> None:
    """Mixes the colors around a point with `ink`, as light does.

    Args:
      strength: share of `ink`, 0 to 1.
    """
    lit = Canvas(page.image.copy(), page.unit)
    disc(lit, x, y, radius, ink)
    cv2.addWeighted(lit.image, strength, page.image, 1 - strength, 0, dst=page.image)


def burst(
    page: Canvas,
    x: float,
    y: float,
    inner: float,
    outer: float,
    ink: tuple[int, int, int],
    rays: int = 8,
    width: float = 0.015,
) -> None:
    """Draws short rays around a point, the mark of an impact."""
    for k in range(rays):
        c, s = math.cos(2 * math.pi * k / rays), math.sin(2 * math.pi * k / rays)
        line(page, [(x + inner * c, y + inner * s), (x + outer * c, y + outer * s)], ink, width)


def backdrop(rng: np.random.Generator, pixels: int) -> np.ndarray:
    """Returns a random background: a gradient, clouds, sometimes stripes.

    Args:
      rng: of the video.
      pixels: side of the canvas.

    Returns:
      uint8 [pixels, pixels, 3].
    """
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


def distractors(rng: np.random.Generator) -> Callable[[Canvas, float], None]:
    """Returns a function that draws two to four silent shapes which drift and turn.

    Args:
      rng: of the video.

    Returns:
      (page, seconds) -> None.
    """
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


def camera(
    rng: np.random.Generator, size: int, seconds: float
) -> Callable[[Canvas, float], np.ndarray]:
    """Returns a camera with a slow pan and zoom, perhaps mirrored, with noise.

    Args:
      rng: of the video.
      size: side of the frames, in pixels.
      seconds: length of the video.

    Returns:
      (page, seconds) -> frame uint8 [size, size, 3].
    """
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
