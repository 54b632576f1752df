"""Waveforms to spectrograms, on the device: [B, N] int16 or float32 -> [B, S, F] float32.

Here are the front ends without mel filters, and the framing and Fourier transform of all;
`logmel.py` has the others.  Time is the axis before frequency in every net of this library.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from avjax.config import ranges


class Spectrogram(nn.Module):
    """AVID's standardized decibel spectrogram: [B, N] -> [B, N // hop, 1 + window // 4].

    A Hann window of `window` samples every `hop`, centered, the ends reflected; neighboring
    bins averaged in pairs; decibels down to 100 below the clip's loudest; every frequency
    standardized.  Morgado et al., CVPR 2021, https://arxiv.org/abs/2004.12943.
    """

    window: int = 1024
    hop: int = 240

    @nn.compact
    def __call__(self, x, train: bool):
        # Paper: AVID ships the mean and deviation of its training set; we measure our own.
        return Standardize(name="standardize")(decibels(x, self.window, self.hop), train)


class LogMagnitude(nn.Module):
    """L3's spectrogram: [B, N] -> [B, 1 + (N - window) // hop, 1 + fft // 2], 199 x 257 a second.

    ln(max(|X|, 1e-12)) / 5 under a periodic Hann window; at 48 kHz 10 ms every 5 ms.
    Frames are those that fit: the ends are not padded.  Arandjelovic & Zisserman, ICCV 2017,
    https://arxiv.org/abs/1705.08168; the floor and the 5 are of its port,
    https://github.com/marl/l3embedding, which has 512 and 242 for window and hop.
    """

    window: int = 480
    hop: int = 240
    fft: int = 512

    @nn.compact
    def __call__(self, x, train: bool):
        x = frames(waveform(x), fitting(x.shape[1], self.window, self.hop), self.window, self.hop)
        # sqrt(max(p, 1e-24)), the same as a floor under the magnitude.
        return 0.1 * jnp.log(jnp.maximum(power(x, hann(self.window), self.fft), 1e-24))


class Companded(nn.Module):
    """Multisensory's raw sound, loud less loud: [B, N] or [B, N, C] -> [B, N, 1, C].

    sign(x) ln(1 + 255 |x|) / ln 256; the paper has C = 2 at 21 kHz.  Owens & Efros, ECCV 2018, https://arxiv.org/abs/1804.03641.
    """

    @nn.compact
    def __call__(self, x, train: bool):
        x = waveform(x if x.ndim == 3 else x[..., None])[:, :, None]
        return jnp.sign(x) * jnp.log1p(255.0 * jnp.abs(x)) / np.log(256.0).astype(np.float32)


class Standardize(nn.Module):
    """Every frequency of [B, S, F] to mean 0 and deviation 1 over the training data.

    The statistics are those of the batch that `init` sees, and are saved with the run
    (collection `sound`); training does not move them.
    """

    @nn.compact
    def __call__(self, x, train: bool):
        mean = self.variable("sound", "mean", lambda: x.mean((0, 1)))
        deviation = self.variable("sound", "deviation", lambda: x.std((0, 1)))
        return (x - mean.value[None, None]) / (deviation.value[None, None] + 1e-5)


def decibels(x, window: int, hop: int):
    """[B, N] -> [B, N // hop, 1 + window // 4], relative to a power of 1."""
    ranges.whole("hop", hop, 1)
    ranges.whole("window", window, 4)
    count = x.shape[1] // hop
    p = power(frames(reflect(waveform(x), window // 2), count, window, hop), hann(window), window)
    pairs = p[..., 1:].reshape(*p.shape[:-1], -1, 2).mean(-1)
    p = jnp.concatenate([p[..., :1], pairs], -1)
    db = 10.0 * jnp.log10(jnp.maximum(p, 1e-10))
    return jnp.maximum(db, db.max((1, 2), keepdims=True) - 100.0)


def waveform(x):
    """int16 to [-1, 1] float32; floats as they are."""
    return x.astype(jnp.float32) / 32767.0 if x.dtype == jnp.int16 else x


def reflect(x, half: int):
    """[B, N] -> [B, N + 2 * half], mirrored at both ends: frames are then centered.

    Said here because the default of librosa has become zeros.
    """
    if x.shape[1] <= half:
        raise ValueError(f"{x.shape[1]} samples are too few to reflect half a window of {2 * half}")
    return jnp.pad(x, ((0, 0), (half, half)), mode="reflect")


def fitting(samples: int, window: int, hop: int) -> int:
    """How many frames fit into `samples`, which must hold one."""
    ranges.whole("hop", hop, 1)
    ranges.whole("window", window, 1)
    if samples < window:
        raise ValueError(f"{samples} samples are less than a window of {window}")
    return 1 + (samples - window) // hop


def frames(x, count: int, window: int, hop: int):
    """[B, N] -> [B, count, window]: a window every `hop` samples, zeros after the end.

    Shifted reshapes, not a gather: contiguous copies on every backend.
    """
    shifts = -(-window // hop)
    need = (count - 1 + shifts) * hop
    x = jnp.pad(x, ((0, 0), (0, max(0, need - x.shape[1]))))
    parts = [x[:, i * hop : (i + count) * hop].reshape(-1, count, hop) for i in range(shifts)]
    return jnp.concatenate(parts, -1)[..., :window]


def hann(size: int):
    """The periodic window [size], whose period is `size`; NumPy, float64."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)


def power(x, window, fft: int):
    """[B, S, W], `window` [W] -> [B, S, 1 + fft // 2]: squared magnitudes, zeros up to `fft`."""
    spectrum = jnp.fft.rfft(x * window.astype(x.dtype)[None, None], fft)
    return jnp.square(spectrum.real) + jnp.square(spectrum.imag)
