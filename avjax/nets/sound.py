"""Waveforms to spectrograms, on the device: [B, N] int16 or float32 -> [B, S, F] float32."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np


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


class LogMel(nn.Module):
    """Log of mel filter-bank energies, standardized: [B, N] -> [B, frames, bins].

    Hann windows of `window` samples every `hop`, zero-padded to `fft`; frames are those
    that fit into N.  `low` is added to the energies before the logarithm.
    """

    rate: int
    window: int
    hop: int
    fft: int
    bins: int = 40
    low: float = 1e-6

    @nn.compact
    def __call__(self, x, train: bool):
        import librosa  # Its import takes seconds, and other front ends do without.

        filters = librosa.filters.mel(
            sr=self.rate, n_fft=self.fft, n_mels=self.bins, htk=True, norm=None
        )
        count = 1 + (x.shape[1] - self.window) // self.hop
        if count < 1:
            raise ValueError(f"{x.shape[1]} samples are less than a window of {self.window}")
        energy = power(frames(waveform(x), count, self.window, self.hop), self.fft)
        return Standardize(name="standardize")(jnp.log(energy @ filters.T + self.low), train)


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
    x = waveform(x)
    if x.shape[1] <= window // 2:
        raise ValueError(f"{x.shape[1]} samples are too few to reflect half a window of {window}")
    count = x.shape[1] // hop
    x = jnp.pad(x, ((0, 0), (window // 2, window // 2)), mode="reflect")
    p = power(frames(x, count, window, hop), window)
    pairs = p[..., 1:].reshape(*p.shape[:-1], -1, 2).mean(-1)
    p = jnp.concatenate([p[..., :1], pairs], -1)
    db = 10.0 * jnp.log10(jnp.maximum(p, 1e-10))
    return jnp.maximum(db, db.max((1, 2), keepdims=True) - 100.0)


def waveform(x):
    """int16 to [-1, 1] float32; floats as they are."""
    return x.astype(jnp.float32) / 32767.0 if x.dtype == jnp.int16 else x


def frames(x, count: int, window: int, hop: int):
    """[B, N] -> [B, count, window]: a window every `hop` samples.

    Shifted reshapes, not a gather: contiguous copies on every backend.
    """
    shifts = -(-window // hop)
    need = (count - 1 + shifts) * hop
    x = jnp.pad(x, ((0, 0), (0, max(0, need - x.shape[1]))))
    parts = [x[:, i * hop : (i + count) * hop].reshape(-1, count, hop) for i in range(shifts)]
    return jnp.concatenate(parts, -1)[..., :window]


def power(x, fft: int):
    """[B, S, W] -> [B, S, 1 + fft // 2]: squared magnitudes under a periodic Hann window."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(x.shape[-1]) / x.shape[-1])
    spectrum = jnp.fft.rfft(x * hann.astype(x.dtype)[None, None], fft)
    return jnp.square(spectrum.real) + jnp.square(spectrum.imag)
