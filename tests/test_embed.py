"""Features of a folder: those of the run's own evaluation, file by file, and no file stops it."""

import csv
import json
import shutil
import sys
import wave
from pathlib import Path

import jax
import numpy as np
import pytest

from avjax import embed
from avjax.config.build import build
from avjax.data import pipeline
from avjax.runtime import checkpoint, sharding
from avjax.training import experiment, state, step
from avjax.weights import convert, names_towers, porting
from tests import tiny
from tests.data.media.test_video import numbered, render
from tests.weights import torchfile

FILES = 4


@pytest.fixture(scope="module")
def run(world, tmp_path_factory):
    """The folder of a run of two steps."""
    folder = tmp_path_factory.mktemp("run")
    tiny.run(tiny.config(world, steps=2, evals={}), folder)
    config = tiny.config(world, steps=2)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def videos(world, tmp_path_factory):
    """A folder of four videos and a broken one."""
    folder = tmp_path_factory.mktemp("videos")
    source = build(tiny.config(world)["evals"]["world"]["test"]["source"])
    for i in range(FILES):
        (folder / str(i % 2)).mkdir(exist_ok=True)
        shutil.copy(source.records[i]["path"], folder / str(i % 2) / f"{i}.mp4")
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


def called(out, run, folder, *more):
    places = [folder] if isinstance(folder, str | Path) else folder
    door = [
        "--run",
        str(run),
        *map(str, places),
        "--out",
        str(out),
        "--workers",
        "0",
        "--trust",
        "tests",
    ]
    embed.main([*door, *map(str, more)])
    if str(out).endswith(".npz"):
        with np.load(out, allow_pickle=False) as arrays:
            return {k: arrays[k] for k in arrays}


def test_features_match_run_evaluation(run, videos, tmp_path, world):
    found = called(tmp_path / "x.npz", run, videos, "--batch_size", "3")
    assert found["path"].tolist() == ["0/0.mp4", "0/2.mp4", "1/1.mp4", "1/3.mp4"]
    config = tiny.config(world)
    parts, mesh = experiment.build(config), sharding.mesh()
    data = parts.data["evals.world.test"]
    with jax.set_mesh(mesh), checkpoint.open_checkpoints(run) as checkpoints:
        trained = experiment.training_data(parts)
        _, ts, _ = state.init_or_restore(parts, trained, mesh, checkpoints)
        look = step.make_embed(parts.method, mesh)
        theirs = [look(ts, b) for b in pipeline.eval_batches(**data, batch_size=8, workers=0)]
    for modality in ("video", "audio"):
        clips = np.concatenate([b[modality]["features"] for b in theirs])[: 2 * FILES]
        mean = clips.reshape(FILES, 2, -1).mean(1)[[0, 2, 1, 3]]
        np.testing.assert_allclose(found[f"{modality}_features"], mean, rtol=1e-4, atol=1e-5)
        length = np.linalg.norm(found[f"{modality}_embedding"], axis=1)
        np.testing.assert_allclose(length, 1, atol=1e-5)
    assert found["clips"].tolist() == [2] * FILES and found["has_audio"].all()


def test_unreadable_file_is_counted_and_listed(run, videos, tmp_path, capsys):
    found = called(tmp_path / "x.npz", run, videos)
    assert found["unreadable"][:, 0].tolist() == ["broken.mp4"] and found["unreadable"][0, 1]
    with open(tmp_path / "x.npz.unreadable.csv") as file:
        assert [row["path"] for row in csv.DictReader(file)] == ["broken.mp4"]
    assert "4 rows of 4 files; 1 unreadable" in capsys.readouterr().out


def test_files_without_audio_are_counted_and_keep_video_features(run, videos, tmp_path, capsys):
    render(tmp_path / "mute.mp4", [numbered(99)] * 30)
    found = called(tmp_path / "x.npz", run, [videos / "0" / "0.mp4", tmp_path / "mute.mp4"])
    assert found["has_audio"].tolist() == [True, False] and found["video_features"][1].any()
    said = capsys.readouterr().out
    assert "2 rows of 2 files; 0 unreadable; 1 without audio (has_audio is False)" in said


def test_clips_have_their_own_rows_on_request(run, videos, tmp_path):
    mean = called(tmp_path / "mean.npz", run, videos)
    found = called(tmp_path / "x.npz", run, videos, "--per_clip", "--modality", "video")
    assert found["clip"].tolist() == [0, 1] * FILES and len(set(found["path"])) == FILES
    assert "audio_features" not in found and "has_audio" not in found
    halves = found["video_features"].reshape(FILES, 2, -1).mean(1)
    np.testing.assert_allclose(halves, mean["video_features"], rtol=1e-4, atol=1e-6)


def test_files_and_folders_may_be_mixed(run, videos, tmp_path):
    """A file has the same features however it is named, and twice named one row."""
    all_of = called(tmp_path / "all.npz", run, videos)
    single = called(tmp_path / "x.npz", run, videos / "0" / "2.mp4")
    assert single["path"].tolist() == [str(videos / "0" / "2.mp4")]
    np.testing.assert_allclose(
        single["video_features"][0], all_of["video_features"][1], rtol=1e-4, atol=1e-6
    )
    mixed = [videos / "broken.mp4", videos / "1", videos / "0" / "2.mp4", videos / "1" / "3.mp4"]
    found = called(tmp_path / "x.npz", run, mixed)
    names = [videos / "1" / "1.mp4", videos / "1" / "3.mp4", videos / "0" / "2.mp4"]
    assert found["path"].tolist() == [str(name) for name in names]
    assert found["unreadable"][:, 0].tolist() == [str(videos / "broken.mp4")]


def test_fewer_clips_and_frames_on_request(run, videos, tmp_path):
    found = called(tmp_path / "x.npz", run, videos / "0", "--num_clips", 1, "--num_frames", 2)
    assert found["clips"].tolist() == [1, 1] and found["video_features"].shape == (2, 8)


def test_audio_folder_needs_no_video(run, tmp_path):
    sounds(tmp_path / "sounds")
    found = called(tmp_path / "x.npz", run, tmp_path / "sounds")
    assert found["audio_features"].shape == (3, 8) and "video_features" not in found
    assert np.abs(found["audio_features"][0] - found["audio_features"][1]).max() > 0


def sounds(folder, rate=8000, count=12_000):
    """Writes three tones."""
    folder.mkdir()
    for i in range(3):
        with wave.open(str(folder / f"{i}.wav"), "wb") as file:
            file.setnchannels(1), file.setsampwidth(2), file.setframerate(rate)
            tone = 9000 * np.sin(np.arange(count) * (i + 1) / 10)
            file.writeframes(tone.astype(np.int16).tobytes())
    return folder


def test_ported_weights_give_audio_features(tmp_path):
    spec = dict(fn="avjax.nets.audio.cnn14.Cnn14", embedding=8, width=2)
    net = build(spec)
    tree = jax.eval_shape(lambda: net.init(jax.random.key(0), np.zeros((1, 64, 64)), train=False))
    rng = np.random.default_rng(0)
    arrays = {p: rng.random(leaf.shape, np.float32) for p, leaf in convert.flatten(tree).items()}
    state = convert.to_torch(convert.unflatten(arrays), names_towers.of(spec))
    torchfile.save(tmp_path / "x.pth", dict(model=state))
    porting.port("panns", tmp_path / "x.pth", tmp_path / "run")
    found = called(tmp_path / "x.npz", tmp_path / "run", sounds(tmp_path / "sounds", 32_000))
    assert found["audio_features"].shape == (3, 8) and np.isfinite(found["audio_features"]).all()


def test_missing_spectrogram_statistics_are_reported(run, tmp_path):
    """As with AVID's weights, whose file lacks the statistics of its spectrograms."""
    saved = checkpoint.restore_latest(run)
    saved["state"]["stats"].pop("spectrogram_stats")
    porting.save(tmp_path / "run", saved["params"], saved["state"])
    shutil.copy(run / "config.json", tmp_path / "run")
    with pytest.raises(SystemExit, match="port it with --audio_stats, or use --modality video"):
        called(tmp_path / "x.npz", tmp_path / "run", sounds(tmp_path / "sounds"))


def test_parquet_has_equal_contents(run, videos, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    arrays = called(tmp_path / "x.npz", run, videos)
    called(tmp_path / "x.parquet", run, videos)
    table = parquet.read_table(tmp_path / "x.parquet")
    assert table.column("path").to_pylist() == arrays["path"].tolist()
    np.testing.assert_array_equal(
        np.stack(table.column("video_features").to_numpy()), arrays["video_features"]
    )


def test_invalid_arguments_are_refused_before_reading(run, videos, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    for out, folder, more, message in (
        ("x.csv", videos, (), "ends in .npz or .parquet"),
        ("x.npz", tmp_path / "empty", (), "no video|no file"),
        ("x.npz", tmp_path / "nowhere", (), "no such file or folder: .*nowhere$"),
        (
            "x.npz",
            [videos, tmp_path / "a.mp4", tmp_path / "b.mp4"],
            (),
            "folder: .*a.mp4, .*b.mp4$",
        ),
        ("x.npz", videos, ("--num_clips", "0"), "num_clips=0: use 1 or more"),
        ("x.npz", videos, ("--num_frames", "-3"), "num_frames=-3: use 1 or more"),
    ):
        with pytest.raises(SystemExit, match=message):
            called(tmp_path / out, run, folder, *more)
    for folder, why in ((tmp_path, "no config.json"), (tmp_path / "none", "no such directory")):
        with pytest.raises(SystemExit, match=rf"is not a run directory \({why}\)"):
            called(tmp_path / "x.npz", folder, videos)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SystemExit, match="pip install pyarrow"):
        called(tmp_path / "x.parquet", run, videos)
    assert [p.name for p in tmp_path.iterdir()] == ["empty"]


def test_no_readable_file_reports_reason(run, tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"nothing")
    with pytest.raises(SystemExit, match="none of 1 files could be read: .*a.mp4"):
        called(tmp_path / "x.npz", run, tmp_path / "videos")
