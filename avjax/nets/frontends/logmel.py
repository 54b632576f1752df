"""The papers' log-mel spectrograms, on the device: [B, N] int16 or float32 -> [B, S, F] float32.

Each has its own window, filters and logarithm; times are in samples unless said otherwise.
Computed in float32: within 1e-3 dB of float64 where an energy is within 70 dB of the loudest.
`tests/nets/frontends/test_spectrogram.py` holds each against librosa or its formula.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from avjax.nets.frontends import mel_filters
from avjax.nets.frontends.spectrogram import (
    Standardize,
    count_frames,
    frame_signal,
    hann_window,
    power_spectrum,
    reflect_pad,
    to_float,
)
from avjax.types import Array


class AVTS(nn.Module):
    """ln of 40 mel energies, standardized: [B, N] -> [B, frames, num_mel_bins], 99 x 40 per second.

    Hann windows of 20 ms every 10, zero-padded to `n_fft`; frames are those that fit into N.
    Korbar et al., NeurIPS 2018, https://arxiv.org/abs/1807.00230.
    """

    sample_rate: int
    num_mel_bins: int = 40
    n_fft: int = 1024

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        # Paper: sample rate, window and scale are not given; the mean and deviation are our own.
        window, hop = self.sample_rate // 50, self.sample_rate // 100
        x = frame_signal(to_float(x), count_frames(x.shape[1], window, hop), window, hop)
        filters = mel_filters.htk(
            self.sample_rate, self.n_fft, self.num_mel_bins, 0, self.sample_rate / 2
        )
        energy = _filter(power_spectrum(x, hann_window(window), self.n_fft), filters)
        return Standardize(name="standardize")(jnp.log(energy + 1e-6), train)


class XDC(nn.Module):
    """VMZ's log-mel, which XDC took: [B, N] -> [B, rows, 40], 100 rows whatever N is.

    16 kHz; symmetric Hann windows of 16 ms every `hop`; ln of an energy, times 1.08e9, that is
    above e, a straight line below.  Frames are interpolated to `rows`, or left out.  A hop of
    160 is VMZ's, for a second; 320 makes 100 frames of two.  Alwassel et al., NeurIPS 2020,
    https://arxiv.org/abs/1911.12667; https://github.com/facebookresearch/VMZ/blob/main/ops.
    """

    hop: int = 160
    rows: int = 100

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        rate, window, gain = 16_000, 256, 1080674186.3482928
        count_frames(x.shape[1], window + 1, self.hop)
        # Reference: a frame is read only while a sample is left after it.
        count = -(-(x.shape[1] - window) // self.hop)
        x = frame_signal(to_float(x), count, window, self.hop)
        p = power_spectrum(
            x, 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / (window - 1)), window
        )
        # Reference: its transform returns the last bin in the place of the first's phase.
        p = jnp.concatenate([p[..., :1] + p[..., -1:], p[..., 1:]], -1)
        energy = gain * _filter(p, mel_filters.vmz(rate, window, 40))
        low = energy <= np.e
        return resize(jnp.where(low, energy / np.e, jnp.log(jnp.where(low, 1, energy))), self.rows)


class FilterBank(nn.Module):
    """SeLaVi's and GDT's: [B, N] -> [B, frames, num_mel_bins], 99 x 40 (or 257) per second.

    Pre-emphasis of 0.97, windows of 20 ms every 10 without a taper, zeros after the last one
    that begins inside; ln of the filters' energies, of samples that go to 32767.  A `mean` of
    1.93 and a `std` of 17.89 are the reference's where it normalizes.  Asano et al.,
    NeurIPS 2020, https://arxiv.org/abs/2006.13662; Patrick et al., ICCV 2021,
    https://arxiv.org/abs/2003.04298; https://github.com/facebookresearch/selavi.
    """

    sample_rate: int
    num_mel_bins: int = 40
    n_fft: int = 1024
    mean: float = 0.0
    std: float = 1.0

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        window, hop = self.sample_rate // 50, self.sample_rate // 100
        count = 1 + max(0, -(-(x.shape[1] - window) // hop))
        x = 32767.0 * to_float(x)
        x = jnp.concatenate([x[:, :1], x[:, 1:] - 0.97 * x[:, :-1]], 1)
        p = (
            power_spectrum(frame_signal(x, count, window, hop), np.ones(window), self.n_fft)
            / self.n_fft
        )
        energy = _filter(p, mel_filters.floored(self.sample_rate, self.n_fft, self.num_mel_bins))
        floor = np.finfo(np.float64).eps  # Also that of the empty ones among 257 filters.
        return (jnp.log(jnp.maximum(energy, floor)) - self.mean) / self.std


class PANNs(nn.Module):
    """PANNs' decibels of 64 mel energies: [B, N] -> [B, 1 + N // hop, 64], 32 kHz.

    Hann windows of 32 ms every 10, centered, the ends reflected; Slaney's filters from 50 Hz
    to 14 kHz; relative to 1, not below -100.  The net normalizes.  Kong et al., TASLP 2020,
    https://arxiv.org/abs/1912.10211; its nets for 16 kHz have 512, 160 and 8000 here.
    """

    sample_rate: int = 32_000
    window: int = 1024
    hop: int = 320
    high: float = 14_000

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        filters = mel_filters.slaney(self.sample_rate, self.window, 64, 50, self.high)
        energy = _filter(_centered(x, self.window, self.hop, self.window), filters)
        return 10.0 * jnp.log10(jnp.maximum(energy, 1e-10))


class ListenToLook(nn.Module):
    """ln of 40 mel energies: [B, N] -> [B, 1 + N // hop, 40], 101 x 40 per second.

    Gao et al., CVPR 2020, https://arxiv.org/abs/1912.04487.
    """

    sample_rate: int = 16_000

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        # Paper: given neither there nor in its program; the net needs 33 to 48 bins, and centered
        # windows of 25 ms every 10 give 101 x 40 per second.
        window, hop = self.sample_rate // 40, self.sample_rate // 100
        fft = 1 << (window - 1).bit_length()
        filters = mel_filters.htk(self.sample_rate, fft, 40, 0, self.sample_rate / 2)
        return jnp.log(_filter(_centered(x, window, hop, fft), filters) + 1e-6)


def resize(x: Array, rows: int) -> Array:
    """Resizes a spectrogram in time, as OpenCV's linear and nearest interpolation do.

    Linear between the rows' centers if `rows` > S; every S / rows-th row if fewer.

    Args:
      x: [B, S, F].
      rows: number of resulting rows.

    Returns:
      [B, rows, F].
    """
    s = x.shape[1]
    if rows < s:
        return x[:, np.arange(rows) * s // rows]
    place = np.clip((np.arange(rows) + 0.5) * s / rows - 0.5, 0, s - 1)
    low = place.astype(int)
    part = (place - low).astype(np.float32)[None, :, None]
    return x[:, low] * (1 - part) + x[:, np.minimum(low + 1, s - 1)] * part


def _centered(x, window, hop, fft):
    """[B, N] -> [B, 1 + N // hop, 1 + fft // 2], power of frames centered from 0 on."""
    x = reflect_pad(to_float(x), window // 2)
    return power_spectrum(
        frame_signal(x, count_frames(x.shape[1], window, hop), window, hop),
        hann_window(window),
        fft,
    )


def _filter(p, filters):
    """[B, S, F], [M, F] -> [B, S, M]; a matrix unit's default would round to 8 bits."""
    return jnp.matmul(p, filters.T.astype(p.dtype), precision=jax.lax.Precision.HIGHEST)
