"""Sounds of the synthetic world: struck, blown and swept tones, and noise.  Float arrays, mono.

Times are in seconds, pitches in hertz, rates in samples a second.
"""

from collections.abc import Sequence

import numpy as np


def mix_in(
    track: np.ndarray, sound: np.ndarray, start: float, rate: int, gain: float = 1.0
) -> None:
    """Adds a sound to a track in place; what lies outside of the track is cut.

    Args:
      track: float [N].
      sound: float [M].
      start: seconds at which the sound begins.
      rate: Hz.
      gain: factor of the sound.
    """
    first = round(start * rate)
    skip = max(0, -first)
    length = min(len(sound) - skip, len(track) - first - skip)
    if length > 0:
        track[first + skip : first + skip + length] += gain * sound[skip : skip + length]


def ring(
    pitch: float, seconds: float, rate: int, partials: Sequence[tuple[float, float]], decay: float
) -> np.ndarray:
    """Returns a struck tone; high partials decay first.

    Args:
      pitch: Hz.
      seconds: length.
      rate: Hz.
      partials: ((multiple of the pitch, loudness), ...).
      decay: the lowest partial falls by a factor e in 1 / decay seconds.

    Returns:
      float [seconds * rate].
    """
    t = np.arange(int(seconds * rate)) / rate
    tone = np.zeros_like(t)
    for multiple, loudness in partials:
        if multiple * pitch < rate / 2:
            tone += (
                loudness
                * np.sin(2 * np.pi * multiple * pitch * t)
                * np.exp(-decay * multiple**0.5 * t)
            )
    return tone * fade(len(t), rate)


def sweep(pitches: np.ndarray, rate: int, partials: Sequence[tuple[float, float]]) -> np.ndarray:
    """Returns a tone of varying pitch.

    Args:
      pitches: Hz of each sample, [N].
      rate: Hz.
      partials: ((multiple of the pitch, loudness), ...).

    Returns:
      float [N].
    """
    phase = 2 * np.pi * np.cumsum(pitches) / rate
    tone = np.zeros_like(phase)
    for multiple, loudness in partials:
        if multiple * np.max(pitches) < rate / 2:
            tone += loudness * np.sin(multiple * phase)
    return tone


def noise(rng: np.random.Generator, samples: int, rate: int, low: float, high: float) -> np.ndarray:
    """Returns band-limited noise with a standard deviation of 1.

    Args:
      rng: of the audio.
      samples: length.
      rate: Hz.
      low, high: range of the frequencies, in Hz.

    Returns:
      float [samples].
    """
    spectrum = np.fft.rfft(rng.uniform(-1, 1, samples))
    frequency = np.fft.rfftfreq(samples, 1 / rate)
    spectrum[(frequency < low) | (frequency > high)] = 0
    sound = np.fft.irfft(spectrum, samples)
    return sound / (np.std(sound) + 1e-9)


def hit(
    rng: np.random.Generator, seconds: float, rate: int, low: float, high: float, decay: float
) -> np.ndarray:
    """Returns a short burst of noise that begins at full loudness and decays.

    Args:
      rng: of the audio.
      seconds: length.
      rate: Hz.
      low, high: range of the frequencies, in Hz.
      decay: falls by a factor e in 1 / decay seconds.

    Returns:
      float [seconds * rate].
    """
    samples = int(seconds * rate)
    t = np.arange(samples) / rate
    return noise(rng, samples, rate, low, high) * np.exp(-decay * t) * fade(samples, rate)


def fade(samples: int, rate: int, seconds: float = 0.002) -> np.ndarray:
    """Returns an envelope of ones with short slopes at both ends, which avoids clicks.

    Args:
      samples: length.
      rate: Hz.
      seconds: length of a slope.

    Returns:
      float [samples].
    """
    edge = np.minimum(np.arange(samples), np.arange(samples)[::-1]) / (seconds * rate)
    return np.minimum(edge, 1.0)


def smooth(curve: np.ndarray, rate: int, seconds: float) -> np.ndarray:
    """Returns the moving average of a curve, with the ends held.

    Args:
      curve: float [N].
      rate: Hz.
      seconds: length of the window.

    Returns:
      float [N].
    """
    width = max(1, int(seconds * rate)) | 1
    padded = np.pad(curve, width // 2, mode="edge")
    total = np.cumsum(np.concatenate([[0.0], padded]))
    return (total[width:] - total[:-width]) / width
