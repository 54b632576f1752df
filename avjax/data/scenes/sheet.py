"""A contact sheet: a row a video, its frames over time and its waveform under them."""

import cv2
import numpy as np

WAVE = 36  # Pixels that a waveform is high.


def sheet(rows):
    """One picture, uint8 [height, width, 3], of rows (name, frames [T, S, S, 3], sound [N], event times in 0..1)."""
    return np.concatenate([strip(*row) for row in rows], axis=0)


def strip(name, frames, sound, marks):
    size, width = frames.shape[1], frames.shape[1] * len(frames)
    label = np.full((size + WAVE, 84, 3), 255, np.uint8)
    cv2.putText(label, name, (4, size // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    wave = np.full((WAVE, width, 3), 255, np.uint8)
    for at in marks:
        x = min(width - 1, round(at * width))
        wave[:, x] = (230, 60, 60)
    for x, part in enumerate(np.array_split(sound / 32768.0, width)):
        low, high = (round(WAVE / 2 * (1 - v)) for v in (part.max(), part.min()))
        wave[max(0, low) : max(low, high) + 1, x] = (40, 40, 90)
    picture = np.concatenate([np.concatenate(list(frames), axis=1), wave], axis=0)
    return np.concatenate([label, picture], axis=1)
