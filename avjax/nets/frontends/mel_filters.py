"""Banks of triangular filters [bins, 1 + fft // 2] over the bins of a spectrum, in NumPy.

Every author has another mel scale, and another way to draw a triangle on a grid.  All are
computed when a net is built, in float64.
"""

import numpy as np


def htk(rate: int, fft: int, bins: int, low: float, high: float) -> np.ndarray:
    """Peaks of 1 at equal distances on the scale 2595 log10(1 + f / 700).

    Args:
      rate: Hz.
      fft: size of the Fourier transform.
      bins: number of filters.
      low, high: range of the filters, in Hz.

    Returns:
      float64 [bins, 1 + fft // 2].
    """
    first, last = (2595 * np.log10(1 + f / 700) for f in (low, high))
    m = np.linspace(first, last, bins + 2)
    edges = 700 * (10 ** (m / 2595) - 1)
    return _triangles(edges, rate, fft)


def slaney(rate: int, fft: int, bins: int, low: float, high: float) -> np.ndarray:
    """Areas of 1 in Hz, on a scale linear below 1 kHz and logarithmic above: librosa's default.

    Args:
      rate: Hz.
      fft: size of the Fourier transform.
      bins: number of filters.
      low, high: range of the filters, in Hz.

    Returns:
      float64 [bins, 1 + fft // 2].
    """
    step = np.log(6.4) / 27  # 27 filters for a factor of 6.4; below, one for each 200 / 3 Hz.

    def mel(f: float) -> float:
        return f * 3 / 200 if f < 1000 else 15 + float(np.log(f / 1000) / step)

    m = np.linspace(float(mel(low)), float(mel(high)), bins + 2)
    edges = np.where(m < 15, m * 200 / 3, 1000 * np.exp(step * (m - 15)))
    return _triangles(edges, rate, fft) * (2 / (edges[2:] - edges[:-2]))[:, None]


def floored(rate: int, fft: int, bins: int) -> np.ndarray:
    """`htk` from 0 to rate / 2 with its edges moved down to whole bins of the spectrum.

    Those of https://github.com/jameslyons/python_speech_features.  Filters narrower than a
    bin are empty.

    Args:
      rate: Hz.
      fft: size of the Fourier transform.
      bins: number of filters.

    Returns:
      float64 [bins, 1 + fft // 2].
    """
    m = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), bins + 2)
    edges = np.floor((fft + 1) * 700 * (10 ** (m / 2595) - 1) / rate)
    left, peak, right = (edges[i : i + bins, None] for i in range(3))
    k = np.arange(1 + fft // 2)[None]
    # Each side divides by its own width, which may be 0 where no bin is inside.
    rise = (k - left) / np.maximum(peak - left, 1) * ((left <= k) & (k < peak))
    fall = (right - k) / np.maximum(right - peak, 1) * ((peak <= k) & (k < right))
    return rise + fall


def vmz(rate: int, fft: int, bins: int) -> np.ndarray:
    """VMZ's, on the scale 1127 ln(1 + f / 700), each of sum 1; over what VMZ takes for bins.

    https://github.com/facebookresearch/VMZ/blob/main/ops/LogMels.cc.  Reference: it divides
    rate / 2 by the number of bins, not by one less; no side is narrower than a bin; the last
    bin within reach of a filter, which counts in the sum, is left out.

    Args:
      rate: Hz.
      fft: size of the Fourier transform.
      bins: number of filters.

    Returns:
      float64 [bins, 1 + fft // 2].
    """
    length = 1 + fft // 2
    m = np.arange(bins + 2) * 1127 * np.log(1 + rate / 2 / 700) / (bins + 1)
    edges = 700 * (np.exp(m / 1127) - 1) / (rate / 2 / length)
    left, peak, right = (edges[i : i + bins, None] for i in range(3))
    k = np.arange(length)[None]
    fall = (k - peak) / np.maximum(right - peak, 1)
    value = 1 - np.where(k < peak, (peak - k) / np.maximum(peak - left, 1), fall)
    last = np.minimum(right.astype(int) + 1, length - 1)
    value = np.maximum(value, 0) * ((left.astype(int) <= k) & (k <= last))
    return value / value.sum(1, keepdims=True) * (k < last)


def _triangles(edges, rate, fft):
    """Rising from one of `edges` (Hz, [bins + 2]) to 1 at the next, falling to 0 at the third."""
    f = np.arange(1 + fft // 2)[None] * rate / fft
    left, peak, right = (edges[i : len(edges) - 2 + i, None] for i in range(3))
    return np.maximum(0, np.minimum((f - left) / (peak - left), (right - f) / (right - peak)))
