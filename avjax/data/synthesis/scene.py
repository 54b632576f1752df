"""What a scene of the synthetic world is, and what all scenes share.

What a thing looks like says what it audio clips like, in the same way in every scene: violet
is higher than red (by an octave and a half), small is higher than large (by half an
octave), and what moves faster is heard more often.  When things happen is random and
uneven, so that an audio clip fits its video at one shift only.
"""

import bisect
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from avjax.data.synthesis import canvas


class Look(NamedTuple):
    """What is random in every scene: three numbers from 0 to 1, and what follows from them."""

    hue: float  # 0 red, 1 violet.
    size: float
    speed: float
    pitch: float  # Hz; a scene audio clips at this, or at a fixed multiple of it.
    ink: tuple  # The sounding thing's color,
    dark: tuple  # the same in shade,
    trim: tuple  # and the color of what it stands on or hangs from.


class Scene(NamedTuple):
    """One instance of a class.

    facts: what the truth file tells beside the look.
    events: ((seconds, kind), ...), in order, within the video.
    draw: (page, t) -> None.
    audio: (rng, samples, rate) -> float [samples], any loudness.
    """

    facts: dict
    events: tuple
    draw: Callable
    sound: Callable


def pitch_of(hue, size):
    """The pitch in hertz of a thing of this color and size, the same in every scene."""
    return round(220.0 * 2.0 ** (1.5 * hue + 0.5 * (1 - size)), 2)


def look_of(rng):
    """A random look; the same draws in every class, so that looks alone name no class."""
    hue, size, speed = (round(rng.random(), 4) for _ in range(3))
    ink, bright = canvas.color(hue), rng.random() < 0.5
    trim = canvas.color(rng.random(), rng.uniform(0, 0.3), 0.9 if bright else 0.15)
    return Look(hue, size, speed, pitch_of(hue, size), ink, canvas.shade(ink, 0.45), trim)


def beats(rng, seconds, short, long):
    """Uneven times, `short` to `long` apart, from before the video's start to after its end."""
    times = [-rng.uniform(0, long) - long]
    while times[-1] < seconds + 2 * long:
        times.append(round(times[-1] + rng.uniform(short, long), 4))
    return times


def around(times, t):
    """(k, seconds since times[k], seconds until times[k + 1]) for the beat that t is after."""
    k = min(max(bisect.bisect_right(times, t) - 1, 0), len(times) - 2)
    return k, t - times[k], times[k + 1] - t


def turning(rng, base, depth):
    """(count, times): how often something has gone round by t, at `base` a second on average.

    count: t -> turns, with a speed that wavers by the share `depth`.
    times: seconds -> the moments of whole turns, from before the start to after the end.
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


def seen(moments, seconds):
    """Those of the moments (time, kind) that lie within the video, as the truth lists them."""
    return tuple((round(t, 4), kind) for t, kind in sorted(moments) if 0 <= t < seconds)
