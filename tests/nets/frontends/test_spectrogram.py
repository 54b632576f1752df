"""Every front end against its formula in NumPy, in float64, or librosa."""

import cv2
import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from avjax.nets.frontends import logmel, mel_filters, spectrogram

DECIBELS = 10 / np.log(10)  # Of a natural logarithm of energy.


def clip(rate, seconds=1.0):
    """[2, N] int16: a chirp that grows faint halfway, and noise."""
    rng, t = np.random.default_rng(0), np.arange(int(rate * seconds)) / rate
    x = 0.4 * np.sin(2 * np.pi * (200 + 900 * t) * t) + 0.01 * rng.normal(size=t.size)
    x[t.size // 2 :] *= 0.1
    return np.round(32767 * np.stack([x, 0.1 * rng.normal(size=t.size)])).astype(np.int16)


def run(front, x):
    variables = front.init(jax.random.key(0), x, train=False)
    return np.asarray(jax.jit(lambda x: front.apply(variables, x, train=False))(x))


def spectra(x, window, hop, fft, taper):
    """[S, 1 + fft // 2] power of the frames that fit into x [N], in float64."""
    parts = librosa.util.frame(x, frame_length=window, hop_length=hop, axis=0)
    return np.abs(np.fft.rfft(parts * taper, fft)) ** 2


def by_librosa(x, window, hop):
    """AVID's decibels by librosa, in float64."""
    s = np.abs(librosa.stft(x.astype(float), n_fft=window, hop_length=hop, pad_mode="reflect")) ** 2
    s = s[:, : len(x) // hop]
    s = np.concatenate([s[:1], s[1:].reshape(-1, 2, s.shape[1]).mean(1)])
    return librosa.power_to_db(s, ref=1.0, amin=1e-10, top_db=100).T


def agree(got, want, depth=80, beyond=1e-2):
    """Within 1e-3 dB to `depth` below the loudest; deeper, where float32 itself ends, `beyond`."""
    loud = want > want.max() - depth
    assert np.abs(got - want)[loud].max() < 1e-3
    assert np.abs(got - want).max() < beyond


@pytest.mark.parametrize("window,hop", [(1024, 240), (512, 480)])
def test_decibels_match_librosa(window, hop):
    rng = np.random.default_rng(0)
    t = np.arange(48_000) / 24_000
    x = 0.4 * np.sin(2 * np.pi * (200 + 900 * t) * t) + 0.01 * rng.normal(size=t.size)
    x[30_000:] *= 1e-3
    x = np.stack([x, rng.normal(size=t.size) * 0.1]).astype(np.float32)
    got = np.asarray(
        jax.jit(spectrogram.decibel_spectrogram, static_argnums=(1, 2))(x, window, hop)
    )
    assert got.shape == (2, 48_000 // hop, 1 + window // 4)
    for i in range(2):
        agree(got[i], by_librosa(x[i], window, hop))


@pytest.mark.parametrize("window,hop,name", [(1024, 240, "512_100"), (512, 480, "256_50")])
def test_decibels_match_the_reference_program(golden, window, hop, name):
    g = golden("avid")
    agree(
        np.asarray(spectrogram.decibel_spectrogram(g["audio/sig"], window, hop)),
        g[f"audio/logspec_db_{name}"],
    )


def test_int16_and_float_waveforms_agree():
    x = np.random.default_rng(0).integers(-3000, 3000, (1, 4800)).astype(np.int16)
    a = spectrogram.decibel_spectrogram(jnp.asarray(x), 1024, 240)
    b = spectrogram.decibel_spectrogram(jnp.asarray(x / np.float32(32767)), 1024, 240)
    np.testing.assert_allclose(a, b, atol=1e-3)


def test_front_end_standardizes_by_initial_batch():
    x = np.random.default_rng(0).normal(size=(8, 24_000)).astype(np.float32)
    front = spectrogram.Spectrogram()
    variables = jax.jit(lambda r, x: front.init(r, x, train=False))(jax.random.key(0), x)
    y = front.apply(variables, x, train=False)
    np.testing.assert_allclose(y.mean((0, 1)), 0, atol=1e-3)
    np.testing.assert_allclose(y.std((0, 1)), 1, atol=1e-3)
    assert set(variables) == {"spectrogram_stats"}
    other = front.apply(variables, 0.1 * x, train=False)
    assert other.mean() < -1


@pytest.mark.parametrize("rate,fft,bins,low,high", [(32_000, 1024, 64, 50, 14_000),
                                                    (16_000, 512, 40, 0, 8_000)])  # fmt: skip
def test_filters_match_librosa(rate, fft, bins, low, high):
    sizes = dict(sr=rate, n_fft=fft, n_mels=bins, fmin=low, fmax=high, dtype=np.float64)
    slaney = librosa.filters.mel(**sizes)
    np.testing.assert_allclose(mel_filters.slaney(rate, fft, bins, low, high), slaney, atol=1e-12)
    htk = librosa.filters.mel(**sizes, htk=True, norm=None)
    np.testing.assert_allclose(mel_filters.htk(rate, fft, bins, low, high), htk, atol=1e-12)


def floored(rate, fft, bins):
    """The filters of python_speech_features, one weight at a time."""
    mels = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), bins + 2)
    edges = [int((fft + 1) * 700 * (10 ** (m / 2595) - 1) / rate) for m in mels]
    out = np.zeros((bins, fft // 2 + 1))
    for i in range(bins):
        left, peak, right = edges[i : i + 3]
        for k in range(left, peak):
            out[i, k] = (k - left) / (peak - left)
        for k in range(peak, right):
            out[i, k] = (right - k) / (right - peak)
    return out


@pytest.mark.parametrize("bins", [40, 257])
def test_floored_filters_match_formula(bins):
    mine = mel_filters.floored(48_000, 1024, bins)
    np.testing.assert_allclose(mine, floored(48_000, 1024, bins), atol=1e-12)
    assert (mine.sum(1) == 0).any() == (bins == 257)


def vmz(rate, fft, bins):
    """VMZ's filters, one weight at a time, and the bins that each reads."""
    length = fft // 2 + 1
    step, width = 1127 * np.log(1 + rate / 2 / 700) / (bins + 1), rate / 2 / length
    out = np.zeros((bins, length))
    for i in range(bins):
        start, mid, end = (700 * (np.exp((i + j) * step / 1127) - 1) / width for j in range(3))
        first, last = int(start), min(length - 1, int(end) + 1)
        weights = {}
        for k in range(first, last + 1):
            side = (mid - k) / max(1, mid - start) if k < mid else (k - mid) / max(1, end - mid)
            weights[k] = max(0, 1 - side)
        for k in range(first, last):
            out[i, k] = weights[k] / sum(weights.values())
    return out


def test_vmz_filters_match_formula():
    np.testing.assert_allclose(mel_filters.vmz(16_000, 256, 40), vmz(16_000, 256, 40), atol=1e-12)


def test_l3_spectrogram_matches_formula():
    x = clip(48_000)
    got = run(spectrogram.LogMagnitude(), x)
    assert got.shape == (2, 199, 257)
    for one, mine in zip(x / 32767, got):
        p = spectra(one, 480, 240, 512, librosa.filters.get_window("hann", 480))
        want = np.log(np.maximum(np.sqrt(p), 1e-12)) / 5
        agree(10 * DECIBELS * mine, 10 * DECIBELS * want, depth=70, beyond=2e-2)
    assert run(spectrogram.LogMagnitude(512, 242), x).shape == (2, 197, 257)  # Its port's.


def test_avts_energies_match_librosa():
    x = clip(16_000)
    got = run(logmel.AVTS(sample_rate=16_000), x)
    p = [spectra(one, 320, 160, 1024, librosa.filters.get_window("hann", 320)) for one in x / 32767]
    bank = librosa.filters.mel(sr=16_000, n_fft=1024, n_mels=40, htk=True, norm=None)
    want = np.log(np.stack(p) @ bank.T + 1e-6)
    want = (want - want.mean((0, 1))) / (want.std((0, 1)) + 1e-5)
    assert got.shape == (2, 99, 40)
    np.testing.assert_allclose(got, want, atol=1e-3)


@pytest.mark.parametrize("seconds,hop,count", [(1, 160, 99), (2, 320, 100), (2, 160, 199)])
def test_xdc_log_mel_matches_vmz(seconds, hop, count):
    """Its frames, before they become 100, are read while more than a window is left."""
    x = clip(16_000, seconds)
    got = run(logmel.XDC(hop=hop), x)
    assert got.shape == (2, 100, 40)
    for one, mine in zip(x / 32767, got):
        parts = [one[i : i + 256] for i in range(0, len(one) - 256, hop)]
        assert len(parts) == count
        spectrum = np.fft.rfft(np.stack(parts) * np.hanning(256))
        p = np.abs(spectrum) ** 2
        p[:, 0] += p[:, -1]
        energy = 1080674186.3482928 * p @ vmz(16_000, 256, 40).T
        want = np.where(energy > np.e, np.log(energy), energy / np.e)
        way = cv2.INTER_LINEAR if count <= 100 else cv2.INTER_NEAREST
        want = cv2.resize(want, (40, 100), interpolation=way)
        agree(DECIBELS * mine, DECIBELS * want)


def test_xdc_silence_is_zero():
    assert not run(logmel.XDC(), np.zeros((1, 16_000), np.int16)).any()


@pytest.mark.parametrize("seconds,bins", [(1, 40), (1.1003, 257)])
def test_selavi_filter_bank_matches_formula(seconds, bins):
    x = clip(48_000, seconds)
    got = run(logmel.FilterBank(sample_rate=48_000, num_mel_bins=bins), x)
    for one, mine in zip(x.astype(float), got):
        one = np.append(one[0], one[1:] - 0.97 * one[:-1])
        count = 1 + int(np.ceil((len(one) - 960) / 480))
        one = np.append(one, np.zeros((count - 1) * 480 + 960 - len(one)))
        energy = spectra(one, 960, 480, 1024, np.ones(960)) / 1024 @ floored(48_000, 1024, bins).T
        want = np.log(np.where(energy == 0, np.finfo(float).eps, energy))
        agree(DECIBELS * mine, DECIBELS * want, depth=70)
    assert got.shape == (2, 99 if seconds == 1 else 110, bins)
    normal = run(logmel.FilterBank(48_000, bins, mean=1.93, std=17.89), x)
    np.testing.assert_allclose(normal, (got - 1.93) / 17.89, atol=1e-5)


def test_multisensory_audio_is_companded():
    x = np.array([[[0, 32767], [-32767, 100], [-1, 1]]], np.int16)
    got = run(spectrogram.MuLaw(), x)
    v = x[:, :, None] / 32767
    want = np.sign(v) * np.log(1 + 255 * np.abs(v)) / np.log(256)
    assert got.shape == (1, 3, 1, 2)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    np.testing.assert_array_equal(run(spectrogram.MuLaw(), x[..., 1]), got[..., 1:])


@pytest.mark.parametrize("rate,window,hop,high", [(32_000, 1024, 320, 14_000),
                                                  (16_000, 512, 160, 8_000)])  # fmt: skip
def test_panns_decibels_match_librosa(rate, window, hop, high):
    x = clip(rate)
    got = run(logmel.PANNs(rate, window, hop, high), x)
    assert got.shape == (2, 101, 64)
    for one, mine in zip(x / 32767, got):
        s = librosa.feature.melspectrogram(
            y=one, sr=rate, n_fft=window, hop_length=hop, n_mels=64, fmin=50, fmax=high,
            pad_mode="reflect",
        )  # fmt: skip
        agree(mine, librosa.power_to_db(s, ref=1.0, amin=1e-10, top_db=None).T)


def test_listen_to_look_log_mel_matches_librosa():
    x = clip(16_000)
    got = run(logmel.ListenToLook(), x)
    assert got.shape == (2, 101, 40)
    for one, mine in zip(x / 32767, got):
        s = librosa.feature.melspectrogram(
            y=one, sr=16_000, n_fft=512, win_length=400, hop_length=160, n_mels=40, htk=True,
            norm=None, pad_mode="reflect",
        )  # fmt: skip
        agree(DECIBELS * mine, DECIBELS * np.log(s + 1e-6).T)


FRONTS = [spectrogram.Spectrogram(), spectrogram.LogMagnitude(), spectrogram.MuLaw(), logmel.AVTS(48_000),
          logmel.XDC(), logmel.FilterBank(48_000), logmel.PANNs(), logmel.ListenToLook()]  # fmt: skip


@pytest.mark.parametrize("front", FRONTS, ids=lambda front: type(front).__name__)
def test_silence_is_finite(front):
    assert np.isfinite(run(front, np.zeros((1, 4800), np.int16))).all()


@pytest.mark.parametrize("front", FRONTS, ids=lambda front: type(front).__name__)
def test_float_waveforms_match_int16(front):
    x = clip(16_000)
    got = run(front, (x / 32767).astype(np.float32))
    np.testing.assert_allclose(got, run(front, x), atol=1e-2)


@pytest.mark.parametrize("front", [spectrogram.Spectrogram(), spectrogram.LogMagnitude(), logmel.AVTS(48_000),
                                   logmel.XDC(), logmel.PANNs()],
                         ids=lambda front: type(front).__name__)  # fmt: skip
def test_too_short_clip_is_refused(front):
    with pytest.raises(ValueError, match="200 samples"):
        run(front, jnp.zeros((1, 200)))
