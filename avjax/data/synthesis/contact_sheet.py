"""A contact sheet, one row per video: its frames over time and its waveform under them."""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

WAVE = 36  # Pixels that a waveform is high.


def save(path: str, rows: Iterable[tuple]) -> None:
    """Saves a contact sheet as a PNG file.

    Args:
      path: of the file.
      rows: arguments of `strip`, one row per video.

    Raises:
      OSError: the file cannot be written.
    """
    image = np.concatenate([strip(*row) for row in rows], axis=0)
    if not cv2.imwrite(path, cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
        raise OSError(f"could not write {path}: does its folder exist, and can it be written to?")


def strip(name: str, frames: np.ndarray, sound: np.ndarray, marks: Sequence[float]) -> np.ndarray:
    """Returns one row of the sheet.

    Args:
      name: label of the row.
      frames: uint8 [T, S, S, 3].
      sound: waveform, float [N] in [-1, 1].
      marks: moments to mark, as fractions of the length.

    Returns:
      uint8 [S + WAVE, width, 3].
    """
    size, width = frames.shape[1], frames.shape[1] * len(frames)
    label = np.full((size + WAVE, 84, 3), 255, np.uint8)
    cv2.putText(
        label, name, (4, size // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA
    )
    wave = np.full((WAVE, width, 3), 255, np.uint8)
    for at in marks:
        x = min(width - 1, round(at * width))
        wave[:, x] = (230, 60, 60)
    column_starts = (
        np.arange(width) * len(sound) // width
    )  # A column shows the samples from here on.
    tops, bottoms = (
        np.maximum.reduceat(sound, column_starts),
        np.minimum.reduceat(sound, column_starts),
    )
    for x, (top, bottom) in enumerate(zip(tops, bottoms)):
        low, high = (round(WAVE / 2 * (1 - v)) for v in (top, bottom))
        wave[max(0, low) : max(low, high) + 1, x] = (40, 40, 90)
    image = np.concatenate([np.concatenate(list(frames), axis=1), wave], axis=0)
    return np.concatenate([label, image], axis=1)
