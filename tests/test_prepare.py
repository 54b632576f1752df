import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from avjax import prepare
from avjax.data import clip_sampling, pipeline
from avjax.data.datasets import folder, shards
from tests.data.media.test_video import click, numbered, render

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OPTIONS = (
    "--short_side=48",
    "--fps=0",
    "--sample_rate=16000",
    "--jpeg_quality=95",
    "--segment_seconds=1",
    "--workers=2",
)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """20 good files of two classes, and three that are not."""
    root = tmp_path_factory.mktemp("videos")
    for i in range(20):
        place = root / "ab"[i % 2]
        place.mkdir(exist_ok=True)
        wave = click(1.6, 16000, (0.1 + 0.05 * i, 1.3))
        render(place / f"{i:02d}.mp4", [numbered(i + k) for k in range(40)], wave=wave, rate=16000)
    render(root / "a" / "mute.mp4", [numbered(99)] * 30)
    (root / "b" / "empty.mp4").write_bytes(b"")
    (root / "b" / "notes.mp4").write_bytes(b"no video at all" * 100)
    return root


@pytest.fixture(scope="module")
def whole(videos, tmp_path_factory):
    """What an undisturbed run writes."""
    out = tmp_path_factory.mktemp("prepared") / "out"
    with pytest.raises(SystemExit) as done:
        prepare.main([str(videos), str(out), *OPTIONS])
    assert done.value.code == 0
    return out


def contents(out):
    """The bytes by name; beginnings of files (`.part`) only a killed run leaves, and they vanish."""
    ready = [path for path in sorted(out.iterdir()) if path.suffix != ".part"]
    return {path.name: path.read_bytes() for path in ready}


def test_everything_is_written_and_counted(whole, videos, capsys):
    names = set(os.listdir(whole))
    wanted = {"prepared.json", "features.json", "dataset_info.json", "doctor.csv", "doctor.html"}
    assert wanted | {"quarantine.csv", "records-train.jsonl", "records-test.jsonl"} <= names
    assert not [name for name in names if name.endswith(".part")]
    lines = (whole / "doctor.csv").read_text().splitlines()
    assert len(lines) == 1 + 23
    page = (whole / "doctor.html").read_text()
    assert "mute.mp4" in page and "http" not in page.replace("http-equiv", "")
    kept = sum(len(shards.make(whole, split)) for split in ("train", "test"))
    assert kept == 20


def test_killed_run_resumes_and_writes_same_bytes(whole, videos, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "avjax.prepare", str(videos), str(out), *OPTIONS]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while not (out.exists() and any(f.name.endswith(".jsonl") for f in out.iterdir())):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "prepared.json").exists()
    done = contents(out)
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert not list(out.glob("*.part"))
    assert contents(out) == contents(whole)
    assert all(contents(whole)[name] == data for name, data in done.items())


def test_lossless_shards_give_same_batches_as_files(videos, tmp_path):
    with pytest.raises(SystemExit):
        prepare.main([str(videos), str(tmp_path), *OPTIONS, "--jpeg_quality=0"])
    sampler = clip_sampling.random(4, 16, 0.5, 16000, short_side=48)
    direct = folder.make(videos, "train", quarantine=tmp_path / "quarantine.csv")
    batches = [
        list(pipeline.train_batches(source, sampler, (), 4, seed=3, stop=6))
        for source in (direct, shards.make(tmp_path, "train"))
    ]
    for one, two in zip(*batches, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def test_training_gets_same_clips_from_shards(whole, videos):
    sampler = clip_sampling.random(4, 16, 0.5, 16000, short_side=48)
    left_out = whole / "quarantine.csv"
    direct = folder.make(videos, "train", quarantine=left_out)
    batches = [
        list(pipeline.train_batches(source, sampler, (), 4, seed=3, stop=6))
        for source in (direct, shards.make(whole, "train"))
    ]
    for one, two in zip(*batches):
        for name in ("index", "label", "has_audio"):
            np.testing.assert_array_equal(one[name], two[name])
        np.testing.assert_allclose(one["audio"], two["audio"], atol=4)
        assert np.abs(one["video"].astype(int) - two["video"]).mean() < 3


def test_check_writes_report_and_no_shards(videos, tmp_path, capsys):
    with pytest.raises(SystemExit) as done:
        prepare.main([str(videos), str(tmp_path / "out"), "--check", "--workers=1"])
    assert done.value.code == 0
    names = os.listdir(tmp_path / "out")
    assert "doctor.html" in names and "quarantine.csv" in names
    assert not [name for name in names if "array_record" in name and not name.endswith(".jsonl")]
    said = capsys.readouterr().out
    assert "good except for missing audio: 1; --require video keeps them" in said
    assert "no audio" in said and said.count("groups: no two names") == 1


def test_shards_store_messages_about_the_folder(whole, videos):
    notes = folder.make(videos, "test").notes
    assert notes and shards.make(whole, "train").notes == notes


def test_csv_lists_files_of_each_split(videos, tmp_path):
    table = videos / "list.csv"
    rows = ["path,split,label", "a/00.mp4,train,x", "b/01.mp4,test,y", "a/02.mp4,train,x"]
    table.write_text("\n".join(rows))
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as done:
        prepare.main([str(table), str(out), *OPTIONS])
    assert done.value.code == 0
    metadata = json.loads((out / "prepared.json").read_text())
    assert {split: s["num_kept"] for split, s in metadata["splits"].items()} == {
        "train": 2,
        "test": 1,
    }
    assert shards.make(out, "train").classes == ("x", "y")


@pytest.mark.parametrize(
    "wrong, said",
    [
        (["--jpeg_quality=101"], "--jpeg_quality 101: use 0 to 100"),
        (["--segment_seconds=0"], "--segment_seconds 0.0: use 1 to 3600"),
        (["--fps=-1"], "--fps -1.0: use up to 1000, or 0 for all"),
        (["--fps=nan"], "--fps nan"),
        (["--timeout=inf"], "--timeout inf"),
        (
            ["--sample_rate=0", "--workers=-1"],
            "--sample_rate 0: use 1000 to 192000; --workers -1: use 1 or more",
        ),
        (["--dataset=nothing"], "--dataset nothing cannot be imported: use one of activitynet"),
        (["--dataset=kinetic"], "did you mean kinetics?"),
        (["--dataset=ucf101"], "needs --set lists=... (the folder of the official classInd.txt"),
        (["--split=all"], "all"),
        (["--set", "fould=1"], "no argument 'fould'; it has: splits, fold, holdout"),
        (["--beam_runner=DirectRunner"], "pip install apache-beam"),
    ],
)
def test_errors_are_reported_before_writing(videos, tmp_path, wrong, said):
    if "--beam" in wrong[0]:
        if importlib.util.find_spec("apache_beam"):
            pytest.skip("Beam is installed")
    with pytest.raises(SystemExit) as error:
        prepare.main([str(videos), str(tmp_path / "out"), *wrong])
    assert said in str(error.value)


def test_beam_writes_the_same_bytes(whole, videos, tmp_path):
    pytest.importorskip("apache_beam")
    out, options = tmp_path / "out", "--direct_num_workers=2 --direct_running_mode=multi_processing"
    beam = ("--beam_runner=DirectRunner", f"--beam_options={options}")
    command = [sys.executable, "-m", "avjax.prepare", str(videos), str(out), *OPTIONS, *beam]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert contents(out) == contents(whole)
