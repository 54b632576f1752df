"""Banks of triangular filters [num_mel_bins, 1 + n_fft // 2] over the bins of a spectrum, in NumPy.

Every author has another mel scale, and another way to draw a triangle on a grid.  All are
computed when a net is built, in float64.
"""

import numpy as np


def htk(sample_rate: int, n_fft: int, num_mel_bins: int, low: float, high: float) -> np.ndarray:
    """Peaks of 1 at equal distances on the scale 2595 log10(1 + f / 700).

    Args:
      sample_rate: Hz.
      n_fft: size of the Fourier transform.
      num_mel_bins: number of filters.
      low, high: range of the filters, in Hz.

    Returns:
      float64 [num_mel_bins, 1 + n_fft // 2].
    """
    first, last = (2595 * np.log10(1 + f / 700) for f in (low, high))
    m = np.linspace(first, last, num_mel_bins + 2)
    edges = 700 * (10 ** (m / 2595) - 1)
    return _triangles(edges, sample_rate, n_fft)


def slaney(sample_rate: int, n_fft: int, num_mel_bins: int, low: float, high: float) -> np.ndarray:
    """Areas of 1 in Hz, on a scale linear below 1 kHz and logarithmic above: librosa's default.

    Args:
      sample_rate: Hz.
      n_fft: size of the Fourier transform.
      num_mel_bins: number of filters.
      low, high: range of the filters, in Hz.

    Returns:
      float64 [num_mel_bins, 1 + n_fft // 2].
    """
    step = np.log(6.4) / 27  # 27 filters for a factor of 6.4; below, one for each 200 / 3 Hz.

    def mel(f: float) -> float:
        return f * 3 / 200 if f < 1000 else 15 + float(np.log(f / 1000) / step)

    m = np.linspace(float(mel(low)), float(mel(high)), num_mel_bins + 2)
    edges = np.where(m < 15, m * 200 / 3, 1000 * np.exp(step * (m - 15)))
    return _triangles(edges, sample_rate, n_fft) * (2 / (edges[2:] - edges[:-2]))[:, None]


def floored(sample_rate: int, n_fft: int, num_mel_bins: int) -> np.ndarray:
    """`htk` from 0 to sample_rate / 2 with its edges moved down to whole bins of the spectrum.

    Those of https://github.com/jameslyons/python_speech_features.  Filters narrower than a
    bin are empty.

    Args:
      sample_rate: Hz.
      n_fft: size of the Fourier transform.
      num_mel_bins: number of filters.

    Returns:
      float64 [num_mel_bins, 1 + n_fft // 2].
    """
    m = np.linspace(0, 2595 * np.log10(1 + sample_rate / 2 / 700), num_mel_bins + 2)
    edges = np.floor((n_fft + 1) * 700 * (10 ** (m / 2595) - 1) / sample_rate)
    left, peak, right = (edges[i : i + num_mel_bins, None] for i in range(3))
    k = np.arange(1 + n_fft // 2)[None]
    # Each side divides by its own width, which may be 0 where no bin is inside.
    rise = (k - left) / np.maximum(peak - left, 1) * ((left <= k) & (k < peak))
    fall = (right - k) / np.maximum(right - peak, 1) * ((peak <= k) & (k < right))
    return rise + fall


def vmz(sample_rate: int, n_fft: int, num_mel_bins: int) -> np.ndarray:
    """VMZ's, on the scale 1127 ln(1 + f / 700), each of sum 1; over what VMZ takes for bins.

    https://github.com/facebookresearch/VMZ/blob/main/ops/LogMels.cc.  Reference: it divides
    sample_rate / 2 by the number of bins, not by one less; no side is narrower than a bin; the last
    bin within reach of a filter, which counts in the sum, is left out.

    Args:
      sample_rate: Hz.
      n_fft: size of the Fourier transform.
      num_mel_bins: number of filters.

    Returns:
      float64 [num_mel_bins, 1 + n_fft // 2].
    """
    length = 1 + n_fft // 2
    m = np.arange(num_mel_bins + 2) * 1127 * np.log(1 + sample_rate / 2 / 700) / (num_mel_bins + 1)
    edges = 700 * (np.exp(m / 1127) - 1) / (sample_rate / 2 / length)
    left, peak, right = (edges[i : i + num_mel_bins, None] for i in range(3))
    k = np.arange(length)[None]
    fall = (k - peak) / np.maximum(right - peak, 1)
    value = 1 - np.where(k < peak, (peak - k) / np.maximum(peak - left, 1), fall)
    last = np.minimum(right.astype(int) + 1, length - 1)
    value = np.maximum(value, 0) * ((left.astype(int) <= k) & (k <= last))
    return value / value.sum(1, keepdims=True) * (k < last)


def _triangles(edges, sample_rate, n_fft):
    """Triangles that rise from one of `edges` (Hz, [num_mel_bins + 2]) to 1, then fall to 0."""
    f = np.arange(1 + n_fft // 2)[None] * sample_rate / n_fft
    left, peak, right = (edges[i : len(edges) - 2 + i, None] for i in range(3))
    return np.maximum(0, np.minimum((f - left) / (peak - left), (right - f) / (right - peak)))
