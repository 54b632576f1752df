"""The prepare command: odd names, changed files, copies, mistakes, Ctrl-C."""

import csv
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from avjax import prepare
from avjax.data import clip_sampling
from avjax.data.datasets import shards
from avjax.data.prepare import folder_lock, shard_layout
from tests.data.media.test_video import click, numbered, render
from tests.data.writing import media
from tests.test_prepare import OPTIONS, ROOT, contents

WAVE = click(1.2, 16000, (0.5,))


def film(path, first, count=30):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    render(path, [numbered(first + k) for k in range(count)], wave=WAVE, rate=16000)


def run(*arguments):
    """Runs it here; its exit status, or its message."""
    with pytest.raises(SystemExit) as done:
        prepare.main([os.fsdecode(a) for a in arguments])
    return done.value.code


def lines(out, name="doctor.csv"):
    with open(out / name, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("door")
    for i in range(6):
        film(root / "ab"[i % 2] / f"{i}.mp4", 10 * i)
    return root


ODD = [
    b"caf\xe9.mp4",
    b"-x.mp4",
    b"a\nb.mp4",
    b"{0}.mp4",
    b"%s.mp4",
    b"[1].MP4",
    "день.mp4".encode(),
]


def test_names_may_be_any_bytes(tmp_path, capfd):
    root, out = os.fsencode(tmp_path / "in %s {0} [1]"), tmp_path / "9 out {x} %d @2"
    os.makedirs(root + b"/\xff b\nc")
    for i, name in enumerate(ODD):
        film(os.fsdecode(root + b"/\xff b\nc/" + name), 10 * i)
    (tmp_path / "in %s {0} [1]" / os.fsdecode(b"br\xe9k.mp4")).write_bytes(b"")
    assert run(root, out, *OPTIONS) == 0
    assert run(root, tmp_path / "checked", "--check", *OPTIONS) == 0
    sources = [shards.make(str(out), split) for split in ("train", "test")]
    paths = sorted(os.fsencode(record["path"]) for source in sources for record in source)
    assert paths == sorted(root + b"/\xff b\nc/" + name for name in ODD)
    assert sources[0].classes == (os.fsdecode(b"\xff b\nc"),)
    sampler = clip_sampling.random(2, 16, 0.5, 16000)
    for source in sources:
        for row in range(len(source)):
            assert len(source.read(row, sampler, [np.random.default_rng(0)])[0]) == 1
    for folder in (out, tmp_path / "checked"):
        assert os.fsdecode(b"br\xe9k.mp4") in lines(folder, "quarantine.csv")
        assert b"br" in (folder / "doctor.html").read_bytes()

    import tensorflow_datasets as tfds

    data = tfds.builder_from_directory(out).as_data_source("train")
    assert {root + b"/" + data[i]["path"] for i in range(len(data))} <= set(paths)


@pytest.mark.parametrize(
    "text, name",
    [("My Videos", "my_videos"), ("2024-05", "avjax_2024_05"), ("день", "avjax"), ("a.b", "a_b"),
     ("-", "avjax"), ("{x}%d", "x_d"), ("caf\udce9", "caf")],
)  # fmt: skip
def test_any_folder_gives_a_valid_tfds_name(text, name):
    assert shard_layout.tfds_name(text) == name


def test_audio_files_need_no_video(tmp_path, capfd):
    for i in range(3):
        place = tmp_path / "in" / "ab"[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        media(place / f"{i}.wav", None, WAVE * (i + 1), audio="pcm_s16le", rate=16000)
    said = run(tmp_path / "in", tmp_path / "out", *OPTIONS)
    assert "no video in" in said and "add --require audio" in said
    assert run(tmp_path / "in", tmp_path / "out", "--require=audio", *OPTIONS) == 0
    assert {path: row["usable"] for path, row in lines(tmp_path / "out").items()} == {
        "a/0.wav": "yes", "b/1.wav": "yes", "a/2.wav": "yes"
    }  # fmt: skip


def test_dataset_options_are_typed(videos, tmp_path):
    assert run(videos, tmp_path / "all", "--set", "holdout=1.0", "--check", "--workers=1") == 0
    assert {row["split"] for row in lines(tmp_path / "all").values()} == {"test"}
    said = run(videos, tmp_path / "none", "--set", "suffixes=.mpg")
    assert "no video" in said and "names that end in .mpg" in said


@pytest.fixture
def copied(videos, tmp_path):
    """(a copy of the videos that may be changed, what was prepared of them)."""
    import shutil

    shutil.copytree(videos, tmp_path / "in")
    assert run(tmp_path / "in", tmp_path / "out", *OPTIONS, "--set", "holdout=0.0") == 0
    return tmp_path / "in", tmp_path / "out"


def test_changed_file_is_rechecked_and_only_its_shard_rewritten(copied, tmp_path):
    root, out = copied
    parts = sorted(out.glob("*-of-00002"))
    before, times = contents(out), [path.stat().st_mtime_ns for path in parts]
    (root / "b" / "5.mp4").write_bytes(b"")
    options = (*OPTIONS, "--set", "holdout=0.0")
    assert run(root, out, "--check", *options) == 0
    assert "b/5.mp4" in lines(out, "quarantine.csv")
    assert [path.read_bytes() for path in parts] == [before[path.name] for path in parts]
    assert run(root, out, *options) == 0
    assert len(shards.make(str(out), "train")) == 5
    assert parts[0].stat().st_mtime_ns == times[0] and parts[1].stat().st_mtime_ns > times[1]
    film(root / "b" / "5.mp4", 50)
    assert run(root, out, *options) == 0
    assert len(shards.make(str(out), "train")) == 6
    state = lambda data: b'"state"' in data  # The file's new time.
    after = contents(out)
    same = [name for name, data in before.items() if not state(data)]
    assert {name: after[name] for name in same} == {name: before[name] for name in same}


def interrupted(shards):
    raise KeyboardInterrupt


def test_partially_rewritten_shards_are_refused(copied, monkeypatch):
    root, out = copied
    opened = shards.make(str(out), "train")
    (root / "a" / "0.mp4").write_bytes(b"")
    (root / "a" / "2.mp4").write_bytes(b"")
    with monkeypatch.context() as patch:
        patch.setattr(shard_layout, "load_rows", interrupted)
        assert run(root, out, *OPTIONS, "--set", "holdout=0.0") == 130
    with pytest.raises(FileNotFoundError, match="no prepared data set"):
        shards.make(str(out), "train")
    shards._open_reader.cache_clear()
    sampler = clip_sampling.random(2, 16, 0.5, 16000)
    with pytest.raises(ValueError, match="was prepared again"):
        opened.read(0, sampler, [np.random.default_rng(0)])
    assert run(root, out, *OPTIONS, "--set", "holdout=0.0") == 0
    assert len(shards.make(str(out), "train")) == 4


def test_duplicates_are_in_one_split_only(videos, tmp_path, capfd):
    root = tmp_path / "in"
    for name in ("1", "2", "3", "4", "5"):
        film(root / f"{name}.mp4", 30 * "15234".index(name))
    same = (root / "1.mp4").read_bytes(), (root / "5.mp4").read_bytes()
    for name, data in {"1b": same[0], "1c": same[0], "5b": same[1]}.items():
        (root / f"{name}.mp4").write_bytes(data)
    table = ["path,split", *(f"{n}.mp4,train" for n in ("1", "1b", "2", "5", "5b"))]
    table += ["1c.mp4,test", "3.mp4,test", "4.mp4,val"]
    (root / "list.csv").write_text("\n".join(table))
    out = tmp_path / "out"
    assert run(root / "list.csv", out, *OPTIONS) == 0
    names = {
        split: [os.path.basename(record["path"]) for record in shards.make(str(out), split)]
        for split in ("train", "val", "test")
    }
    assert names == {"train": ["2.mp4", "5.mp4", "5b.mp4"], "val": ["4.mp4"],
                     "test": ["1c.mp4", "3.mp4"]}  # fmt: skip
    left_out = lines(out, "quarantine.csv")
    assert set(left_out) == {"1.mp4", "1b.mp4"}
    assert left_out["1.mp4"]["reason"] == "the same packets as 1c.mp4 of split test"
    assert lines(out)["5b.mp4"]["findings"] == "duplicate"
    assert "2  duplicate across splits" in capfd.readouterr().out


def test_unwritable_output_is_refused_before_first_file(videos, tmp_path):
    film(str(tmp_path / "in" / "x.mp4"), 0)
    (tmp_path / "file").write_text("")
    for source, out, said in (
        (tmp_path / "nowhere", tmp_path / "out", "does not exist: name a folder"),
        (tmp_path / "in" / "x.mp4", tmp_path / "out", "is a media file: name the folder"),
        (tmp_path / "in", tmp_path / "in" / "out", "lies in IN"),
        (tmp_path / "in", tmp_path / "in", "lies in IN"),
        (tmp_path / "in", tmp_path / "file", "is a file: name a folder"),
        (tmp_path / "in", tmp_path / "file" / "out", "cannot be written: Not a directory"),
        (tmp_path / "in", tmp_path / "caf\udce9", "need a path in UTF-8"),
    ):
        assert said in run(source, out, "--set", "holdout=0.0", *OPTIONS)
    assert sorted(os.listdir(tmp_path)) == ["file", "in"]


def test_second_prepare_is_refused_and_keeps_files_of_first(videos, tmp_path):
    (tmp_path / "x.0123abcd.part").write_text("half written")
    (tmp_path / "mine.part").write_text("not of avjax")
    with folder_lock.hold_lock(str(tmp_path)):
        said = run(videos, tmp_path, *OPTIONS)
        assert f"written by another prepare (process {os.getpid()} on" in said
        assert (tmp_path / "x.0123abcd.part").exists()
    assert run(videos, tmp_path, "--check", *OPTIONS) == 0
    assert not (tmp_path / "x.0123abcd.part").exists() and (tmp_path / "mine.part").exists()


def test_ctrl_c_ends_in_one_line_and_rerun_resumes(videos, tmp_path):
    command = [sys.executable, "-m", "avjax.prepare", str(videos), str(tmp_path / "out"), *OPTIONS]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline().startswith("preparing: 0/")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in said and "the same command resumes" in said.splitlines()[-1]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert (
        json.loads((tmp_path / "out" / "prepared.json").read_text())["version"]
        == shard_layout.VERSION
    )
    next_command = f"--config configs/avid_folder.py --config.data.root={tmp_path / 'out'}"
    assert next_command in done.stdout.splitlines()[-1]
