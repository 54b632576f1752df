"""Checks of decoded frames and audio: still, antiphase, speech, music.

Simple signal statistics, not a trained model.  "speech only" and "music only" are hints with few
false alarms rather than complete: they follow the pauses and pitch of speech (Scheirer and Slaney,
https://doi.org/10.1109/ICASSP.1997.596192) and the steady tones of music.
"""

import dataclasses
from typing import NamedTuple

import cv2
import numpy as np

GRID_SIZE = 32  # Rows and columns of the means by which frames are compared.
STILL_THRESHOLD = (
    4.0  # Gray levels of 255 that no mean may change by: below it lies what encoders do.
)
ANTIPHASE_RATIO = 0.01  # Power of the mean of two channels, in those of the channels: -20 dB.
MIN_RMS = 30.0  # Root of the mean square, in 16-bit steps, below which audio tells nothing.
STEREO_SAMPLE_RATE = 8000  # Hz at which channels are compared.
MIN_FRACTION = 0.8  # Share of a file's parts that must sound alike for a hint.
PART_SECONDS = 10.0  # Seconds of audio that have statistics of their own.
FRAME_SECONDS, HOP_SECONDS = 0.064, 0.016  # Seconds of the spectra.


class AudioStatistics(NamedTuple):
    """Statistics of about ten seconds of audio.

    Attributes:
      steady: correlation of spectra 0.1 s apart, over frequencies, without their smooth shape.
      steady_1s: the same of spectra 1 s apart: high for hum, low if notes follow each other.
      pauses: fraction of spectra with less than a quarter of the mean power.
      voiced: fraction of the louder half of the spectra with a pitch of 70 to 400 Hz.
      rhythm: fraction of the loudness changes at 3 to 8 Hz, the rate of syllables.
      pitch_change: median change of that pitch per tenth of a second, in octaves.
    """

    steady: float
    steady_1s: float
    pauses: float
    voiced: float
    rhythm: float
    pitch_change: float


@dataclasses.dataclass
class Contents:
    """What was decoded of a file so far.

    Attributes:
      first_frame: the first frame as GRID_SIZE x GRID_SIZE means, or None.
      max_change: the largest difference of any mean of a later frame from it.
      num_frames: how many frames there were.
      mean_power, channel_power: power of the mean of two channels, and of the channels.
      audio: an AudioStatistics for each part of about PART_SECONDS that has one.
      pending, rate: audio that has not filled a part yet, int16, and its rate in Hz.
    """

    first_frame: np.ndarray | None = None
    max_change: float = 0.0
    num_frames: int = 0
    mean_power: float = 0.0
    channel_power: float = 0.0
    audio: list[AudioStatistics] = dataclasses.field(default_factory=list)
    pending: list[np.ndarray] = dataclasses.field(default_factory=list)
    rate: int = 0


def add_frame(contents: Contents, frame: np.ndarray) -> None:
    """Adds a frame to the statistics.

    Args:
      contents: updated in place.
      frame: uint8 [H, W, 3].
    """
    gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    means = cv2.resize(gray, (GRID_SIZE, GRID_SIZE), interpolation=cv2.INTER_AREA)
    contents.first_frame = means if contents.first_frame is None else contents.first_frame
    contents.max_change = max(
        contents.max_change, float(np.abs(means - contents.first_frame).max())
    )
    contents.num_frames += 1


def add_stereo(contents: Contents, stereo: np.ndarray) -> None:
    """Adds two channels to the statistics.

    Args:
      contents: updated in place.
      stereo: int16 [N, 2].
    """
    waveform = stereo.astype(np.float64)
    contents.mean_power += float(np.sum(waveform.mean(axis=1) ** 2))
    contents.channel_power += float(np.sum(waveform**2) / 2)


def add_audio(contents: Contents, waveform: np.ndarray, rate: int) -> None:
    """Adds the next samples of the audio to the statistics.

    Args:
      contents: updated in place.
      waveform: int16 [N] or [N, channels].
      rate: Hz, the same for all of a file.
    """
    contents.pending.append(waveform)
    contents.rate = rate
    if _pending_seconds(contents) > 0.95 * PART_SECONDS:
        _finish_part(contents)


def _pending_seconds(contents):
    return sum(map(len, contents.pending)) / contents.rate if contents.pending else 0.0


def _finish_part(contents):
    stats = audio_statistics(np.concatenate(contents.pending), contents.rate)
    contents.audio += [] if stats is None else [stats]
    contents.pending.clear()


def findings(contents: Contents) -> list[str]:
    """Returns the names of the findings, as avjax.data.prepare.file_checks has them.

    Args:
      contents: of a whole file; updated in place.
    """
    rest = _pending_seconds(contents)  # A short one counts only if there is nothing else.
    if rest >= PART_SECONDS / 2 or (rest and not contents.audio):
        _finish_part(contents)
    found = ["still"] if contents.num_frames > 1 and contents.max_change < STILL_THRESHOLD else []
    if contents.mean_power < ANTIPHASE_RATIO * contents.channel_power:
        found.append("antiphase")
    for name, matches in (("speech only", _is_speech), ("music only", _is_music)):
        if contents.audio and np.mean([matches(s) for s in contents.audio]) >= MIN_FRACTION:
            found.append(name)
    return found


def _is_speech(stats):
    return (
        stats.voiced > 0.7
        and 0.25 < stats.pauses < 0.6
        and stats.rhythm > 0.27
        and stats.steady < 0.25
        and stats.pitch_change > 0.02
    )


def _is_music(stats):
    return stats.steady > 0.3 and stats.steady_1s < 0.6 * stats.steady and stats.pauses < 0.3


def audio_statistics(waveform: np.ndarray, rate: int) -> AudioStatistics | None:
    """Computes the statistics of a part of the audio.

    Args:
      waveform: int16 [N] or [N, channels].
      rate: Hz.

    Returns:
      an AudioStatistics; None for less than 2 s, or for faint audio.
    """
    waveform = waveform.astype(np.float64)
    waveform = waveform if waveform.ndim == 1 else waveform.mean(axis=1)
    if len(waveform) < 2 * rate or np.sqrt(np.mean(waveform**2)) < MIN_RMS:
        return None
    size, hop = round(FRAME_SECONDS * rate), round(HOP_SECONDS * rate)
    frames = np.lib.stride_tricks.sliding_window_view(waveform, size)[::hop] * np.hanning(size)
    spectra = np.abs(np.fft.rfft(frames, 2 * size))
    power = np.mean(frames**2, axis=1)
    shapes = _shapes(spectra, rate / (2 * size))
    pitch, voiced = _pitches(spectra, rate)
    loud = power >= np.median(power)
    lag_frames = round(0.1 / HOP_SECONDS)
    both = voiced[lag_frames:] & voiced[:-lag_frames]
    moving = np.abs(np.log2(pitch[lag_frames:] / pitch[:-lag_frames]))[both]
    return AudioStatistics(
        steady=_correlation(shapes, lag_frames),
        steady_1s=_correlation(shapes, round(1.0 / HOP_SECONDS)),
        pauses=float(np.mean(power < np.mean(power) / 4)),
        voiced=float(np.mean(voiced[loud])),
        rhythm=_rhythm(power),
        pitch_change=float(np.median(moving)) if len(moving) else 0.0,
    )


def _shapes(spectra, step):
    """Spectra -> log spectra from 100 to 4000 Hz without what is smooth, of unit norm."""
    logs = np.log(spectra[:, round(100 / step) : round(4000 / step)] + 1.0)
    logs -= cv2.blur(logs, (round(400 / step) | 1, 1))
    return logs / np.maximum(np.linalg.norm(logs, axis=1, keepdims=True), 1e-9)


def _correlation(shapes, lag_frames):
    return float(np.mean(np.sum(shapes[lag_frames:] * shapes[:-lag_frames], axis=1)))


def _rhythm(power):
    envelope = np.abs(np.fft.rfft(np.sqrt(power) - np.mean(np.sqrt(power)))) ** 2
    rates = np.fft.rfftfreq(len(power), HOP_SECONDS)
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
