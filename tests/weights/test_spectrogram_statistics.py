"""The statistics of AVID's spectrogram: in, out, and refused where they are something else."""

import jax
import numpy as np
import pytest

from avjax import port
from avjax.config.build import build
from avjax.runtime import checkpoint
from avjax.weights import (
    convert,
    exporting,
    names_towers,
    porting,
    published,
    safetensors,
    sources,
    spectrogram_statistics,
)
from tests.test_port import reference  # noqa: F401 (a fixture)
from tests.weights import torchfile

SIZE = 257


def of_avid(folder, name="std", size=SIZE):
    """(path of a file as AVID ships it, its mean, its deviation)."""
    mean = np.linspace(0, -54, size)
    deviation = np.linspace(17, 22, size)
    np.savez(folder / "stats.npz", **{"mean": mean, name: deviation})
    return str(folder / "stats.npz"), mean.astype(np.float32), deviation.astype(np.float32)


@pytest.mark.parametrize("name", ["std", "deviation"])
def test_statistics_file_of_avid_is_read(tmp_path, name):
    file, mean, deviation = of_avid(tmp_path, name)
    found = spectrogram_statistics.read(file, SIZE)
    np.testing.assert_array_equal(found["mean"], mean)
    np.testing.assert_array_equal(found["deviation"], deviation)


ODD = {
    "no deviation": (dict(mean=np.zeros(SIZE)), "holds .'mean'.: it must hold mean and std"),
    "another window": (
        dict(mean=np.zeros(129), std=np.full(129, 9.0)),
        r"\[129\].*257 frequencies",
    ),
    "two axes": (
        dict(mean=np.zeros((257, 2)), std=np.full(257, 9.0)),
        r"mean is float64 \[257, 2\]",
    ),
    "one number": (dict(mean=np.zeros(()), std=np.full(257, 9.0)), "mean is float64"),
    "text": (dict(mean=np.full(257, "a"), std=np.full(257, 9.0)), "mean is <U1"),
    "not finite": (dict(mean=np.full(257, np.nan), std=np.full(257, 9.0)), "mean is from nan"),
    "a power": (dict(mean=np.full(257, 900.0), std=np.full(257, 9.0)), "mean .*decibels.* to 60"),
    "of 0 to 1": (dict(mean=np.full(257, 0.4), std=np.full(257, 0.2)), "deviation .*decibels"),
    "negative": (dict(mean=np.zeros(257), std=np.full(257, -9.0)), "deviation is from -9 to -9"),
}


@pytest.mark.parametrize("kind", ODD)
def test_invalid_statistics_are_refused(tmp_path, kind):
    arrays, message = ODD[kind]
    np.savez(tmp_path / "odd.npz", **arrays)
    with pytest.raises(ValueError, match=f"odd.npz.*{message}"):
        spectrogram_statistics.read(tmp_path / "odd.npz", SIZE)


@pytest.mark.parametrize("contents", [b"", b"text", b"PK\3\4 cut short"])
def test_non_npz_file_is_refused(tmp_path, contents):
    (tmp_path / "x.npz").write_bytes(contents)
    with pytest.raises(ValueError, match="x.npz is not an .npz"):
        spectrogram_statistics.read(tmp_path / "x.npz", SIZE)
    with pytest.raises(FileNotFoundError, match="nowhere.npz"):
        spectrogram_statistics.read(tmp_path / "nowhere.npz", SIZE)


def test_statistics_round_trip(reference, tmp_path, capsys):  # noqa: F811
    torchfile.save(tmp_path / "avid.pth.tar", reference)
    file, mean, deviation = of_avid(tmp_path)
    out = ["--out", str(tmp_path / "run")]
    port.main(["avid", str(tmp_path / "avid.pth.tar"), *out, "--audio_stats", file])
    assert "without the statistics" not in capsys.readouterr().out
    port.main(["--export", str(tmp_path / "run"), "--out", str(tmp_path / "x.safetensors")])
    said = capsys.readouterr().out
    assert "audio_spectrogram.mean and audio_spectrogram.std" in said and "load_state_dict" in said
    state = safetensors.read(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(state.pop("audio_spectrogram.mean"), mean)
    np.testing.assert_array_equal(state.pop("audio_spectrogram.std"), deviation)
    assert state.keys() == convert.plain_state_dict(reference["model"]).keys()
    porting.port("avid", tmp_path / "x.safetensors", tmp_path / "again")
    kept = checkpoint.restore_latest(tmp_path / "again")["state"]["stats"]["spectrogram_stats"][
        "frontends_audio"
    ]
    np.testing.assert_array_equal(kept["standardize"]["mean"], mean)
    np.testing.assert_array_equal(kept["standardize"]["deviation"], deviation)


def test_weights_without_statistics_report_it_both_ways(reference, tmp_path, capsys):  # noqa: F811
    torchfile.save(tmp_path / "avid.pth.tar", reference)
    porting.port("avid", tmp_path / "avid.pth.tar", tmp_path / "run")
    assert "only its video net can be used: set --audio_stats" in capsys.readouterr().out
    state = exporting.export(tmp_path / "run", tmp_path / "x.safetensors")
    assert "has no statistics of its spectrogram" in capsys.readouterr().out
    assert not any("spectrogram" in name for name in state)


def test_statistics_for_nets_without_such_a_spectrogram_are_refused(tmp_path):
    spec = dict(fn="avjax.nets.audio.cnn14.Cnn14", embedding=8, width=2)
    tree = jax.eval_shape(
        lambda: build(spec).init(jax.random.key(0), np.zeros((1, 64, 64)), train=False)
    )
    arrays = {path: np.ones(leaf.shape, np.float32) for path, leaf in convert.flatten(tree).items()}
    torchfile.save(
        tmp_path / "x.pth",
        dict(model=convert.to_torch(convert.unflatten(arrays), names_towers.of(spec))),
    )
    with pytest.raises(ValueError, match="--audio_stats: panns has no spectrogram"):
        porting.port(
            "panns", tmp_path / "x.pth", tmp_path / "run", audio_stats=tmp_path / "stats.npz"
        )
    assert not (tmp_path / "run").exists()


def test_help_lists_every_source_with_its_page(capsys):
    with pytest.raises(SystemExit):
        port.main(["--help"])
    said = capsys.readouterr().out
    for name, one in published.PUBLISHED.items():
        assert name in said and one.home in said and one.license in said
    assert sources.SOURCES.keys() == published.PUBLISHED.keys()
    assert "audio-spectDB-24k-513-norm-stats.npz" in said and "--audio_stats" in said


def test_folder_without_run_is_reported_in_one_line(tmp_path):
    for run, why in ((tmp_path, "no config.json"), (tmp_path / "x", "no such directory")):
        with pytest.raises(SystemExit, match=rf"is not a run directory \({why}\)"):
            port.main(["--export", str(run), "--out", str(tmp_path / "y.safetensors")])
