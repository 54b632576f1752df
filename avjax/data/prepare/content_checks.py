"""What decoded pictures and sound tell of a file's contents: still, antiphase, speech, music.

Simple signal statistics, not a trained model.  "speech only" and "music only" are hints, made to
be rare rather than complete: they follow the pauses and pitch of speech (Scheirer and Slaney,
https://doi.org/10.1109/ICASSP.1997.596192) and the steady tones of music.
"""

import dataclasses
from typing import NamedTuple

import cv2
import numpy as np

GRID = 32  # Rows and columns of the means by which pictures are compared.
STILL = 4.0  # Gray levels of 255 that no mean may change by: below it lies what encoders do.
CANCELLED = 0.01  # Power of the mean of two channels, in those of the channels: -20 dB.
FAINT = 30.0  # Root of the mean square, in 16-bit steps, below which sound tells nothing.
COMPARED = 8000  # Hz at which channels are compared.
MOST = 0.8  # Share of a file's parts that must sound alike for a hint.
FRAME, HOP = 0.064, 0.016  # Seconds of the spectra.


class Sound(NamedTuple):
    """Statistics of about ten seconds of sound.

    steady:  correlation of spectra 0.1 s apart, over frequencies, each without its smooth shape.
    changed: the same of spectra 1 s apart: high for hum, low where notes follow each other.
    pauses:  share of spectra with less than a quarter of the mean power.
    voiced:  share of the louder half of the spectra with a pitch of 70 to 400 Hz.
    rhythm:  share of the changes of loudness that fall on 3 to 8 Hz, the rate of syllables.
    moving:  how far that pitch moves from one tenth of a second to the next, in octaves.
    """

    steady: float
    changed: float
    pauses: float
    voiced: float
    rhythm: float
    moving: float


@dataclasses.dataclass
class Contents:
    """What was seen and heard of a file so far.

    first, change, frames: the first picture in GRID x GRID means, how far any mean of a later one
      was from it, and how many there were.
    mean, channels: powers of the mean of two channels, and of themselves.
    sounds: a Sound for each part that has one.
    """

    first: np.ndarray | None = None
    change: float = 0.0
    frames: int = 0
    mean: float = 0.0
    channels: float = 0.0
    sounds: list[Sound] = dataclasses.field(default_factory=list)


def see(contents: Contents, image) -> None:
    """Adds a picture, uint8 [H, W, 3]."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    means = cv2.resize(gray, (GRID, GRID), interpolation=cv2.INTER_AREA)
    contents.first = means if contents.first is None else contents.first
    contents.change = max(contents.change, float(np.abs(means - contents.first).max()))
    contents.frames += 1


def compare(contents: Contents, stereo) -> None:
    """Adds two channels, int16 [N, 2]."""
    wave = stereo.astype(np.float64)
    contents.mean += float(np.sum(wave.mean(axis=1) ** 2))
    contents.channels += float(np.sum(wave**2) / 2)


def hear(contents: Contents, wave, rate: int) -> None:
    """Adds a part of the sound, int16 [N] or [N, channels] at `rate` Hz."""
    sound = statistics(wave, rate)
    contents.sounds += [] if sound is None else [sound]


def findings(contents: Contents) -> list[str]:
    """The names of what all of this shows, as avjax.data.prepare.file_checks has them."""
    found = ["still"] if contents.frames > 1 and contents.change < STILL else []
    if contents.mean < CANCELLED * contents.channels:
        found.append("antiphase")
    for name, is_such in (("speech only", _is_speech), ("music only", _is_music)):
        if contents.sounds and np.mean([is_such(s) for s in contents.sounds]) >= MOST:
            found.append(name)
    return found


def _is_speech(sound):
    return (
        sound.voiced > 0.7
        and 0.25 < sound.pauses < 0.6
        and sound.rhythm > 0.27
        and sound.steady < 0.25
        and sound.moving > 0.02
    )


def _is_music(sound):
    return sound.steady > 0.3 and sound.changed < 0.6 * sound.steady and sound.pauses < 0.3


def statistics(wave, rate: int) -> Sound | None:
    """int16 [N] or [N, channels] at `rate` Hz -> Sound; None for less than 2 s, or faint sound."""
    wave = wave.astype(np.float64)
    wave = wave if wave.ndim == 1 else wave.mean(axis=1)
    if len(wave) < 2 * rate or np.sqrt(np.mean(wave**2)) < FAINT:
        return None
    size, hop = round(FRAME * rate), round(HOP * rate)
    frames = np.lib.stride_tricks.sliding_window_view(wave, size)[::hop] * np.hanning(size)
    spectra = np.abs(np.fft.rfft(frames, 2 * size))
    power = np.mean(frames**2, axis=1)
    shapes = _shapes(spectra, rate / (2 * size))
    pitch, voiced = _pitches(spectra, rate)
    loud = power >= np.median(power)
    apart = round(0.1 / HOP)
    both = voiced[apart:] & voiced[:-apart]
    moving = np.abs(np.log2(pitch[apart:] / pitch[:-apart]))[both]
    return Sound(
        steady=_alike(shapes, apart),
        changed=_alike(shapes, round(1.0 / HOP)),
        pauses=float(np.mean(power < np.mean(power) / 4)),
        voiced=float(np.mean(voiced[loud])),
        rhythm=_rhythm(power),
        moving=float(np.median(moving)) if len(moving) else 0.0,
    )


def _shapes(spectra, step):
    """Spectra -> log spectra from 100 to 4000 Hz without what is smooth, of unit norm."""
    logs = np.log(spectra[:, round(100 / step) : round(4000 / step)] + 1.0)
    logs -= cv2.blur(logs, (round(400 / step) | 1, 1))
    return logs / np.maximum(np.linalg.norm(logs, axis=1, keepdims=True), 1e-9)


def _alike(shapes, apart):
    return float(np.mean(np.sum(shapes[apart:] * shapes[:-apart], axis=1)))


def _rhythm(power):
    envelope = np.abs(np.fft.rfft(np.sqrt(power) - np.mean(np.sqrt(power)))) ** 2
    rates = np.fft.rfftfreq(len(power), HOP)
    return float(np.sum(envelope[(rates >= 3) & (rates <= 8)]) / max(np.sum(envelope), 1e-9))


def _pitches(spectra, rate):
    """Pitch in Hz of each spectrum, and whether it has one, by the autocorrelation."""
    correlation = np.fft.irfft(spectra**2)
    low, high = round(rate / 400), round(rate / 70)
    lag = low + np.argmax(correlation[:, low:high], axis=1)
    height = np.take_along_axis(correlation, lag[:, None], 1)[:, 0]
    # The window fades the correlation out; what is left at half its length is about a quarter.
    voiced = height > 0.45 * np.maximum(correlation[:, 0], 1e-9)
    return rate / lag, voiced
