"""What a scene of the synthetic world is, and what all scenes share.

The look of an object determines its sound, in the same way in every scene: violet is higher
than red (by an octave and a half), small is higher than large (by half an octave), and what
moves faster is heard more often.  The times of events are random and uneven, so that the audio
fits its video at one shift only.
"""

import bisect
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from avjax.data.synthesis import canvas


class Look(NamedTuple):
    """The random appearance of an object: three numbers from 0 to 1, and what follows from them."""

    hue: float  # 0 red, 1 violet.
    size: float
    speed: float
    pitch: float  # Hz; a scene sounds at this pitch, or at a fixed multiple of it.
    ink: tuple  # The sounding thing's color,
    dark: tuple  # the same in shade,
    trim: tuple  # and the color of what it stands on or hangs from.


class Scene(NamedTuple):
    """One instance of a class.

    Attributes:
      facts: ground truth beside the look.
      events: ((seconds, kind), ...), in order, within the video.
      draw: (page, seconds) -> None; draws on a canvas.Canvas.
      sound: (rng, samples, rate) -> float [samples], of any loudness.
    """

    facts: dict
    events: tuple
    draw: Callable
    sound: Callable


def pitch_of(hue: float, size: float) -> float:
    """Returns the pitch in hertz of an object, the same in every scene.

    Args:
      hue, size: of the object, 0 to 1.
    """
    return round(220.0 * 2.0 ** (1.5 * hue + 0.5 * (1 - size)), 2)


def look_of(rng: np.random.Generator) -> Look:
    """Returns a random look; every class draws the same numbers, so a look alone names no class."""
    hue, size, speed = (round(rng.random(), 4) for _ in range(3))
    ink, bright = canvas.color(hue), rng.random() < 0.5
    trim = canvas.color(rng.random(), rng.uniform(0, 0.3), 0.9 if bright else 0.15)
    return Look(hue, size, speed, pitch_of(hue, size), ink, canvas.shade(ink, 0.45), trim)


def beats(rng: np.random.Generator, seconds: float, short: float, long: float) -> list[float]:
    """Returns uneven times, from before the start of a video to after its end.

    Args:
      rng: of the video.
      seconds: length of the video.
      short, long: range of the intervals, in seconds.
    """
    times = [-rng.uniform(0, long) - long]
    while times[-1] < seconds + 2 * long:
        times.append(round(times[-1] + rng.uniform(short, long), 4))
    return times


def around(times: list[float], t: float) -> tuple[int, float, float]:
    """Returns the last beat before a time.

    Args:
      times: of the beats, in seconds, sorted.
      t: time in seconds.

    Returns:
      (k, seconds since times[k], seconds until times[k + 1]).
    """
    k = min(max(bisect.bisect_right(times, t) - 1, 0), len(times) - 2)
    return k, t - times[k], times[k + 1] - t


def turning(rng: np.random.Generator, base: float, depth: float) -> tuple[Callable, Callable]:
    """Returns a rotation with a varying speed.

    Args:
      rng: of the video.
      base: mean turns per second.
      depth: variation of the speed, as a fraction of it.

    Returns:
      (count, times): count(seconds) -> turns, of a number or an array; times(seconds) -> [(k, time
      of turn k)], from before the start to after the end of a video of that length.
    """
    waver, phase, start = rng.uniform(1.0, 2.5), rng.uniform(0, 6.28), rng.random()

    def count(t):
        return start + base * (t + depth * np.sin(waver * t + phase) / waver)

    def times(seconds):
        grid = np.arange(-1.0, seconds + 1.0, 0.001)
        turns = count(grid)
        whole = np.arange(math.ceil(turns[0]), math.floor(turns[-1]) + 1)
        return [(int(k), round(float(t), 4)) for k, t in zip(whole, np.interp(whole, turns, grid))]

    return count, times


def seen(moments: list[tuple[float, str]], seconds: float) -> tuple[tuple[float, str], ...]:
    """Returns the moments within a video, sorted.

    Args:
      moments: [(seconds, kind)].
      seconds: length of the video.
    """
    return tuple((round(t, 4), kind) for t, kind in sorted(moments) if 0 <= t < seconds)
