"""Sounds of the synthetic world: struck, blown and swept tones, and noise.  Float arrays, mono.

Times are in seconds, pitches in hertz, rates in samples a second.
"""

import numpy as np


def lay(track, sound, start, rate, gain=1.0):
    """Adds `sound` to `track` from the second `start` on; what reaches outside is cut."""
    first = round(start * rate)
    skip = max(0, -first)
    length = min(len(sound) - skip, len(track) - first - skip)
    if length > 0:
        track[first + skip : first + skip + length] += gain * sound[skip : skip + length]


def ring(pitch, seconds, rate, partials, decay):
    """A struck tone of partials ((multiple, loudness), ...); high ones die first.

    decay: the lowest falls by a factor e in 1 / `decay` seconds.
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


def sweep(pitches, rate, partials):
    """A tone whose pitch follows `pitches` [N], with partials ((multiple, loudness), ...)."""
    phase = 2 * np.pi * np.cumsum(pitches) / rate
    tone = np.zeros_like(phase)
    for multiple, loudness in partials:
        if multiple * np.max(pitches) < rate / 2:
            tone += loudness * np.sin(multiple * phase)
    return tone


def noise(rng, samples, rate, low, high):
    """Noise between two frequencies, with a standard deviation of one."""
    spectrum = np.fft.rfft(rng.uniform(-1, 1, samples))
    frequency = np.fft.rfftfreq(samples, 1 / rate)
    spectrum[(frequency < low) | (frequency > high)] = 0
    sound = np.fft.irfft(spectrum, samples)
    return sound / (np.std(sound) + 1e-9)


def hit(rng, seconds, rate, low, high, decay):
    """A short noise that starts at once and dies at `decay` a second."""
    samples = int(seconds * rate)
    t = np.arange(samples) / rate
    return noise(rng, samples, rate, low, high) * np.exp(-decay * t) * fade(samples, rate)


def fade(samples, rate, seconds=0.002):
    """Ones with a short slope at either end, so that a cut makes no click of its own."""
    edge = np.minimum(np.arange(samples), np.arange(samples)[::-1]) / (seconds * rate)
    return np.minimum(edge, 1.0)


def smooth(curve, rate, seconds):
    """`curve` [N] averaged over a few hundredths of a second, ends held."""
    width = max(1, int(seconds * rate)) | 1
    padded = np.pad(curve, width // 2, mode="edge")
    total = np.cumsum(np.concatenate([[0.0], padded]))
    return (total[width:] - total[:-width]) / width
