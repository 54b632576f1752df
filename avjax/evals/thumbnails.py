"""Gallery thumbnails: a clip's middle frame, and its audio as a spectrogram."""

import cv2
import numpy as np

from avjax.data.transforms.video import apply_on_host

SIZE = 64  # Height and width of a thumbnail.


def add_thumbnails(batch: dict, rate: int, chosen: set, into: dict) -> None:
    """Adds thumbnails of the first clip of each chosen record.

    Args:
      batch: a Batch of NumPy arrays.
      rate: sampling rate of the audio, in Hz.
      chosen: rows of the records in their source.
      into: {row: (middle frame uint8 [SIZE, SIZE, 3], spectrogram uint8 [SIZE, SIZE])}, filled in
        place.
    """
    if "video" not in batch or "audio" not in batch:
        return
    for i, row in enumerate(np.asarray(batch["index"]).tolist()):
        good = batch["mask"][i] and batch["has_audio"][i]
        if good and row in chosen and row not in into:
            video = np.asarray(batch["video"][i])
            video = video[len(video) // 2 :][:1]
            if "augment" in batch:  # The net's own crop is made on the device.
                drawn = {"video": video, "augment": np.asarray(batch["augment"][i])}
                video = apply_on_host(SIZE)(drawn, np.random.default_rng(0))["video"]
            frame = cv2.resize(video[0], (SIZE, SIZE), interpolation=cv2.INTER_AREA)
            into[row] = frame, spectrogram(np.asarray(batch["audio"][i]), rate)


def gallery_arrays(thumbnails: dict) -> dict[str, np.ndarray]:
    """Returns the arrays of the gallery in the order of the source; {} without thumbnails.

    Args:
      thumbnails: as filled by `add_thumbnails`.

    Returns:
      {"gallery/row", "gallery/frame", "gallery/sound": [M, ...]}.
    """
    if not thumbnails:
        return {}
    rows = sorted(thumbnails)
    return {
        "gallery/row": np.array(rows, np.int32),
        "gallery/frame": np.stack([thumbnails[row][0] for row in rows]),
        "gallery/sound": np.stack([thumbnails[row][1] for row in rows]),
    }


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
    start = np.linspace(0, len(wave) - window, SIZE).astype(int)
    frames = wave[start[:, None] + np.arange(window)] * np.hanning(window).astype(np.float32)
    power = np.abs(np.fft.rfft(frames)) ** 2
    # Means over bands by differences of the running sum: narrow low bands are never empty.
    mel = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), SIZE + 1)
    edge = 700 * (10 ** (mel / 2595) - 1) / (rate / 2) * power.shape[1]
    running = np.pad(np.cumsum(power, axis=1), ((0, 0), (1, 0)))
    at = np.stack([np.interp(edge, np.arange(running.shape[1]), row) for row in running])
    band = np.diff(at) / np.diff(edge)
    loud = 10 * np.log10(np.maximum(band, 1e-10))
    level = np.clip((loud - loud.max() + 80) / 80, 0, 1) * (band.max() > 1e-10)
    return np.round(255 * level.T[::-1]).astype(np.uint8)
