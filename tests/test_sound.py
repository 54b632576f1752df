import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from avjax.nets import sound


def by_librosa(x, window, hop):
    """The same decibels by librosa, in float64."""
    s = np.abs(librosa.stft(x.astype(float), n_fft=window, hop_length=hop, pad_mode="reflect")) ** 2
    s = s[:, : len(x) // hop]
    s = np.concatenate([s[:1], s[1:].reshape(-1, 2, s.shape[1]).mean(1)])
    return librosa.power_to_db(s, ref=1.0, amin=1e-10, top_db=100).T


def agree(got, want):
    """Within 1e-3 dB; below -80 dB of the loudest, where float32 itself ends, within 1e-2."""
    audible = want > want.max() - 80
    assert np.abs(got - want)[audible].max() < 1e-3
    assert np.abs(got - want).max() < 1e-2


@pytest.mark.parametrize("window,hop", [(1024, 240), (512, 480)])
def test_decibels_are_those_of_librosa(window, hop):
    rng = np.random.default_rng(0)
    t = np.arange(48_000) / 24_000
    x = 0.4 * np.sin(2 * np.pi * (200 + 900 * t) * t) + 0.01 * rng.normal(size=t.size)
    x[30_000:] *= 1e-3
    x = np.stack([x, rng.normal(size=t.size) * 0.1]).astype(np.float32)
    got = np.asarray(jax.jit(sound.decibels, static_argnums=(1, 2))(x, window, hop))
    assert got.shape == (2, 48_000 // hop, 1 + window // 4)
    for i in range(2):
        agree(got[i], by_librosa(x[i], window, hop))


@pytest.mark.parametrize("window,hop,name", [(1024, 240, "512_100"), (512, 480, "256_50")])
def test_decibels_are_those_of_the_reference_program(golden, window, hop, name):
    g = golden("avid")
    agree(np.asarray(sound.decibels(g["audio/sig"], window, hop)), g[f"audio/logspec_db_{name}"])


def test_int16_and_float_waveforms_agree():
    x = np.random.default_rng(0).integers(-3000, 3000, (1, 4800)).astype(np.int16)
    a = sound.decibels(jnp.asarray(x), 1024, 240)
    b = sound.decibels(jnp.asarray(x / np.float32(32767)), 1024, 240)
    np.testing.assert_allclose(a, b, atol=1e-3)


def test_silence_is_finite():
    assert np.isfinite(sound.decibels(jnp.zeros((1, 4800)), 1024, 240)).all()


def test_a_front_end_standardizes_by_the_batch_it_was_made_on():
    x = np.random.default_rng(0).normal(size=(8, 24_000)).astype(np.float32)
    front = sound.Spectrogram()
    variables = jax.jit(lambda r, x: front.init(r, x, train=False))(jax.random.key(0), x)
    y = front.apply(variables, x, train=False)
    np.testing.assert_allclose(y.mean((0, 1)), 0, atol=1e-3)
    np.testing.assert_allclose(y.std((0, 1)), 1, atol=1e-3)
    assert set(variables) == {"sound"}
    other = front.apply(variables, 0.1 * x, train=False)
    assert other.mean() < -1


def test_log_mel_energies_are_those_of_librosa():
    x = np.random.default_rng(0).normal(size=(1, 16_000)).astype(np.float32)
    front = sound.LogMel(rate=16_000, window=320, hop=160, fft=512, bins=40)
    variables = front.init(jax.random.key(0), x, train=False)
    got = front.apply(variables, x, train=False)
    hann = librosa.filters.get_window("hann", 320)
    parts = librosa.util.frame(x[0].astype(float), frame_length=320, hop_length=160)
    energy = np.abs(np.fft.rfft(parts * hann[:, None], 512, axis=0)) ** 2
    mel = librosa.filters.mel(sr=16_000, n_fft=512, n_mels=40, htk=True, norm=None)
    want = np.log(mel @ energy + 1e-6).T
    want = (want - want.mean(0)) / (want.std(0) + 1e-5)
    assert got.shape == (1, 99, 40)
    np.testing.assert_allclose(got[0], want, atol=2e-3)


def test_a_clip_too_short_is_refused():
    with pytest.raises(ValueError, match="300 samples"):
        sound.decibels(jnp.zeros((1, 300)), 1024, 240)
