"""Long videos of the synthetic world: minutes of distraction, few moments that tell the class.

A video is a row of scenes of equal length, each on its own background:

    moment   the object of the video's class is seen and heard
    decoy    an object of another class is seen and not heard
    empty    silent shapes

Scenes that are no moment have noise, or none, as their sound.  So the sound tells where to look,
and pictures alone are misled by decoys.  Frames and sound are drawn when they are read; any of
them depends on (seed, split, video, scene) only.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from avjax.data.datasets import synthetic
from avjax.data.synthesis import canvas, tones
from avjax.data.synthesis.scene import look_of

KEPT_SCENES, KEPT_SOUNDS = 64, 16  # In memory, of all videos.
LOUDNESS = (0.35, 0.9)  # Of the loudest sample of a moment.


class World(NamedTuple):
    """All that the videos depend on.

    Attributes:
      seed: of the world.
      split: one of `synthetic.SPLITS`.
      seconds: length of a video.
      scene_seconds: length of a scene; a divisor of `seconds`.
      num_moments: per video.
      decoys: share of the other scenes that are decoys.
      noises: share of the other scenes with noise.
      size: pixels of each side, even.
      fps: frames per second.
      sample_rate: of the mono audio, in Hz.
    """

    seed: int
    split: str
    seconds: float
    scene_seconds: float
    num_moments: int
    decoys: float
    noises: float
    size: int
    fps: float
    sample_rate: int


class Plan(NamedTuple):
    """What a video is made of.

    Attributes:
      label: its class.
      classes: the class that is seen in each scene, -1 for none.
      moments: whether each scene is a moment.
    """

    label: int
    classes: tuple[int, ...]
    moments: tuple[bool, ...]

    def spans(self, scene_seconds: float) -> tuple[tuple[float, float], ...]:
        """Returns the moments as ((start, end), ...), in seconds."""
        found = [i for i, moment in enumerate(self.moments) if moment]
        return tuple((i * scene_seconds, (i + 1) * scene_seconds) for i in found)


def plan(world: World, video: int) -> Plan:
    """Returns the ground truth of a video.

    Args:
      world: the world.
      video: its number.
    """
    rng = np.random.default_rng(_seeds(world, video, 0))
    total, label = round(world.seconds / world.scene_seconds), video % len(synthetic.CLASSES)
    moments = np.zeros(total, bool)
    moments[rng.choice(total, world.num_moments, replace=False)] = True
    others = rng.integers(1, len(synthetic.CLASSES), total)
    classes = np.where(rng.random(total) < world.decoys, (label + others) % 12, -1)
    classes = np.where(moments, label, classes)
    return Plan(label, tuple(map(int, classes)), tuple(map(bool, moments)))


def frame(world: World, video: int, time: float) -> np.ndarray:
    """Returns the frame at `time` seconds, uint8 [size, size, 3]; Args: as of `plan`."""
    last = round(world.seconds / world.scene_seconds) - 1
    number = min(int(time / world.scene_seconds), last)
    return _scene(world, video, number)[0](time - number * world.scene_seconds)


def audio(world: World, video: int, start: float, samples: int) -> np.ndarray:
    """Returns audio from `start` seconds on, int16 [samples]; silence outside of the video.

    Args:
      world, video: as of `plan`.
      start: in seconds.
      samples: how many.
    """
    each = round(world.scene_seconds * world.sample_rate)
    low, out = round(start * world.sample_rate), np.zeros(samples, np.int16)
    for number in range(max(0, low // each), (low + samples - 1) // each + 1):
        if number < round(world.seconds / world.scene_seconds):
            sound, at = _sound(world, video, number), number * each - low
            first, stop = max(0, at), min(samples, at + each)
            out[first:stop] = sound[first - at : stop - at]
    return out


def write(path: str, world: World, video: int) -> None:
    """Writes a video to an mp4 file, in little memory.

    Args:
      path: of the file.
      world, video: as of `plan`.
    """
    from avjax.data.synthesis import mp4

    count = round(world.seconds * world.fps)
    frames = (frame(world, video, k / world.fps) for k in range(count))
    whole = audio(world, video, 0.0, round(world.seconds * world.sample_rate))
    mp4.write(path, frames, whole, world.fps, world.sample_rate)


def _seeds(world, video, number) -> list[int]:
    return [7, world.seed, synthetic.SPLITS.index(world.split), video, number]


@functools.lru_cache(KEPT_SCENES)
def _scene(world: World, video: int, number: int) -> tuple[Callable, Callable | None]:
    """(seconds -> frame, (rng, samples, rate) -> sound or None if it is not heard) of a scene."""
    found, size = plan(world, video), world.size
    rng = np.random.default_rng(_seeds(world, video, 1 + number))
    ground = canvas.backdrop(rng, canvas.side(size))
    strangers, shoot = canvas.distractors(rng), canvas.camera(rng, size, world.scene_seconds)
    moment, label = found.moments[number], found.classes[number]
    # The object of the moments is the same in all of them.
    look = look_of(np.random.default_rng(_seeds(world, video, 0)) if moment else rng)
    scene = synthetic.SCENES[label](rng, look, world.scene_seconds) if label >= 0 else None

    def draw(time):
        page = canvas.Canvas(ground.copy(), float(size))
        strangers(page, time)
        if scene:
            scene.draw(page, time)
        return shoot(page, time)

    return draw, scene.sound if scene and moment else None


@functools.lru_cache(KEPT_SOUNDS)
def _sound(world: World, video: int, number: int) -> np.ndarray:
    """Audio of a scene, int16 [scene_seconds * sample_rate]."""
    source, rate = _scene(world, video, number)[1], world.sample_rate
    rng = np.random.default_rng([*_seeds(world, video, 1 + number), 1])
    samples = round(world.scene_seconds * rate)
    track = 10 ** rng.uniform(-3.2, -2.2) * rng.uniform(-1, 1, samples)
    if source:
        heard = source(rng, samples, rate)
        track += heard / (np.abs(heard).max() + 1e-9) * rng.uniform(*LOUDNESS)
    elif rng.random() < world.noises:
        low = rng.uniform(50, 0.1 * rate)
        noise = tones.noise(rng, samples, rate, low, rng.uniform(2 * low, 0.45 * rate))
        swell = 0.6 + 0.4 * np.sin(rng.uniform(0.5, 4) * np.arange(samples) / rate)
        noise *= swell
        track += noise / np.abs(noise).max() * rng.uniform(*LOUDNESS)
    return (np.clip(track, -1, 1) * 32767).astype(np.int16)
