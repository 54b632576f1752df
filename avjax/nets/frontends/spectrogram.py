"""Waveforms to spectrograms, on the device: [B, N] int16 or float32 -> [B, S, F] float32.

Front ends without mel filters, and framing and Fourier transform for all; the others are in
`logmel.py`.  Time is the axis before frequency in every net of this library.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from avjax.config import ranges
from avjax.types import Array


class Spectrogram(nn.Module):
    """AVID's standardized decibel spectrogram: [B, N] -> [B, N // hop, 1 + window // 4].

    Centered Hann windows of `window` samples every `hop`, reflect padding, neighboring bins
    averaged in pairs, decibels down to 100 below the clip's maximum, every frequency standardized.
    Morgado et al., CVPR 2021, https://arxiv.org/abs/2004.12943.
    """

    window: int = 1024
    hop: int = 240

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        # Paper: AVID ships the mean and deviation of its training set; we measure our own.
        return Standardize(name="standardize")(decibel_spectrogram(x, self.window, self.hop), train)


class LogMagnitude(nn.Module):
    """L3's spectrogram: [B, N] -> [B, 1 + (N - window) // hop, 1 + n_fft // 2], 199 x 257 per s.

    ln(max(|X|, 1e-12)) / 5 with a periodic Hann window; at 48 kHz 10 ms every 5 ms.  Frames are
    those that fit, without padding.  Arandjelovic & Zisserman, ICCV 2017,
    https://arxiv.org/abs/1705.08168; the floor and the 5 are of its port,
    https://github.com/marl/l3embedding, which has 512 and 242 for window and hop.
    """

    window: int = 480
    hop: int = 240
    n_fft: int = 512

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        x = frame_signal(
            to_float(x), count_frames(x.shape[1], self.window, self.hop), self.window, self.hop
        )
        # sqrt(max(p, 1e-24)), the same as a floor under the magnitude.
        return 0.1 * jnp.log(
            jnp.maximum(power_spectrum(x, hann_window(self.window), self.n_fft), 1e-24)
        )


class MuLaw(nn.Module):
    """Multisensory's waveform with mu-law companding: [B, N] or [B, N, C] -> [B, N, 1, C].

    sign(x) ln(1 + 255 |x|) / ln 256; the paper has C = 2 at 21 kHz.  Owens & Efros, ECCV 2018,
    https://arxiv.org/abs/1804.03641.
    """

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        x = to_float(x if x.ndim == 3 else x[..., None])[:, :, None]
        return jnp.sign(x) * jnp.log1p(255.0 * jnp.abs(x)) / np.log(256.0).astype(np.float32)


class Standardize(nn.Module):
    """Every frequency of [B, S, F] to mean 0 and standard deviation 1 over the training data.

    The statistics are those of the batch that `init` gets, and are saved with the run (collection
    `spectrogram_stats`); training does not change them.
    """

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        mean = self.variable("spectrogram_stats", "mean", lambda: x.mean((0, 1)))
        deviation = self.variable("spectrogram_stats", "deviation", lambda: x.std((0, 1)))
        return (x - mean.value[None, None]) / (deviation.value[None, None] + 1e-5)


def decibel_spectrogram(x: Array, window: int, hop: int) -> Array:
    """Computes a spectrogram in decibels relative to a power of 1, down to 100 below the maximum.

    Args:
      x: int16 or float [B, N].
      window: samples of a window.
      hop: samples between windows.

    Returns:
      [B, N // hop, 1 + window // 4]; neighboring bins are averaged in pairs.
    """
    ranges.check_integer("hop", hop, 1)
    ranges.check_integer("window", window, 4)
    count = x.shape[1] // hop
    p = power_spectrum(
        frame_signal(reflect_pad(to_float(x), window // 2), count, window, hop),
        hann_window(window),
        window,
    )
    pairs = p[..., 1:].reshape(*p.shape[:-1], -1, 2).mean(-1)
    p = jnp.concatenate([p[..., :1], pairs], -1)
    db = 10.0 * jnp.log10(jnp.maximum(p, 1e-10))
    return jnp.maximum(db, db.max((1, 2), keepdims=True) - 100.0)


def to_float(x: Array) -> Array:
    """Converts int16 to float32 in [-1, 1]; floats are returned unchanged."""
    return x.astype(jnp.float32) / 32767.0 if x.dtype == jnp.int16 else x


def reflect_pad(x: Array, half: int) -> Array:
    """Pads by reflection, which centers frames.

    Explicit, as librosa's default has become zeros.

    Args:
      x: [B, N].
      half: samples to add on each side.

    Returns:
      [B, N + 2 * half].

    Raises:
      ValueError: N is not above `half`.
    """
    if x.shape[1] <= half:
        raise ValueError(
            f"window={2 * half} of {x.shape[1]} samples: they are too few to reflect half a window"
        )
    return jnp.pad(x, ((0, 0), (half, half)), mode="reflect")


def count_frames(samples: int, window: int, hop: int) -> int:
    """Returns the number of frames that fit into `samples`.

    Args:
      samples: length of the waveform.
      window: samples of a frame.
      hop: samples between frames.

    Raises:
      ValueError: none does.
    """
    ranges.check_integer("hop", hop, 1)
    ranges.check_integer("window", window, 1)
    if samples < window:
        raise ValueError(f"{samples} samples are less than a window of {window}")
    return 1 + (samples - window) // hop


def frame_signal(x: Array, count: int, window: int, hop: int) -> Array:
    """Cuts a waveform into frames; zeros follow its end.

    Shifted reshapes instead of a gather: contiguous copies on every backend.

    Args:
      x: [B, N].
      count: number of frames.
      window: samples of a frame.
      hop: samples between frames.

    Returns:
      [B, count, window].
    """
    shifts = -(-window // hop)
    need = (count - 1 + shifts) * hop
    x = jnp.pad(x, ((0, 0), (0, max(0, need - x.shape[1]))))
    parts = [x[:, i * hop : (i + count) * hop].reshape(-1, count, hop) for i in range(shifts)]
    return jnp.concatenate(parts, -1)[..., :window]


def hann_window(size: int) -> np.ndarray:
    """Returns the periodic Hann window, float64 [size]."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)


def power_spectrum(x: Array, window: np.ndarray, n_fft: int) -> Array:
    """Computes the power spectrum of frames.

    Args:
      x: [B, S, W].
      window: [W], multiplied with each frame.
      n_fft: size of the Fourier transform, to which frames are padded with zeros.

    Returns:
      [B, S, 1 + n_fft // 2].
    """
    spectrum = jnp.fft.rfft(x * window.astype(x.dtype)[None, None], n_fft)
    return jnp.square(spectrum.real) + jnp.square(spectrum.imag)
