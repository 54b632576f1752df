"""Previews of media files for reports: a frame, two seconds of audio, a spectrogram."""

import numpy as np

from avjax.data.media.media_file import open_media
from avjax.data.media.video import read_audio, read_frames

MAX_SECONDS = 30.0  # From the start of the audio, among which the loudest part is searched.
SPECTROGRAM_SIZE = 64  # Height and width of a spectrogram.


def read_preview(
    path: str, seconds: float = 2.0, sample_rate: int = 16000, short_side: int = 112
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Reads the loudest part of a file's audio and the frame in its middle.

    Args:
      path: of the file.
      seconds: length of the audio; of a shorter file all of it.
      sample_rate: in Hz.
      short_side: of the frame, in pixels.

    Returns:
      (frame uint8 [H, W, 3], audio int16 [N]); None for a stream that the file has not.

    Raises:
      MediaError: it is not a supported media file, or it cannot be decoded.
    """
    frame = audio = time = None
    with open_media(path) as media:
        info = media.info
        if info.audio_start is not None and info.audio_end is not None:
            length = min(MAX_SECONDS, info.audio_end - info.audio_start)
            audio = read_audio(media, info.audio_start, int(length * sample_rate), sample_rate)
            start, stop = loudest_part(audio, int(seconds * sample_rate))
            audio, time = audio[start:stop], info.audio_start + (start + stop) / 2 / sample_rate
        if info.video_start is not None and info.video_end is not None:
            if time is None or not info.video_start <= time < info.video_end:
                time = (info.video_start + info.video_end) / 2
            frame = read_frames(media, time, 1, 1.0, short_side)[0]
    return frame, audio


def loudest_part(waveform: np.ndarray, length: int) -> tuple[int, int]:
    """Finds the part of a waveform with the highest energy, in steps of a tenth of its length.

    Args:
      waveform: int16 [N].
      length: of the part, in samples.

    Returns:
      (start, stop) in samples; the first of equal ones.
    """
    if len(waveform) <= length:
        return 0, len(waveform)
    energy = np.pad(np.cumsum(waveform.astype(np.float64) ** 2), (1, 0))
    starts = np.arange(0, len(waveform) - length + 1, max(1, length // 10))
    start = int(starts[np.argmax(energy[starts + length] - energy[starts])])
    return start, start + length


def spectrogram(wave: np.ndarray, rate: int) -> np.ndarray:
    """Spectrogram image of a waveform.

    Args:
      wave: int16 [N].
      rate: sample rate in Hz.

    Returns:
      uint8 [64, 64]: mel bands from low (bottom) to high, 80 dB.
    """
    window = 1024
    wave = np.pad(wave.astype(np.float32) / 32768, window // 2)
    start = np.linspace(0, len(wave) - window, SPECTROGRAM_SIZE).astype(int)
    frames = wave[start[:, None] + np.arange(window)] * np.hanning(window).astype(np.float32)
    power = np.abs(np.fft.rfft(frames)) ** 2
    # Means over bands by differences of the running sum: narrow low bands are never empty.
    mel = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), SPECTROGRAM_SIZE + 1)
    edge = 700 * (10 ** (mel / 2595) - 1) / (rate / 2) * power.shape[1]
    running = np.pad(np.cumsum(power, axis=1), ((0, 0), (1, 0)))
    at = np.stack([np.interp(edge, np.arange(running.shape[1]), row) for row in running])
    band = np.diff(at) / np.diff(edge)
    loud = 10 * np.log10(np.maximum(band, 1e-10))
    level = np.clip((loud - loud.max() + 80) / 80, 0, 1) * (band.max() > 1e-10)
    return np.round(255 * level.T[::-1]).astype(np.uint8)
