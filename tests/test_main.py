"""The front door, as a user's shell sees it."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from avjax.config import jax_setup

ROOT = Path(__file__).parent.parent


def avjax(*args):
    return subprocess.run(
        [sys.executable, "-m", "avjax.main", *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )


@pytest.mark.parametrize(
    "flag,message",
    [
        ("--config.batchsize=64", "config.batchsize: no such key; did you mean 'batch_size'?"),
        ("--config.method.temperature.temperatur=1", "did you mean 'temperature'?"),
        ("--config.batch_size=many", "batch_size"),
        ("--wordkir=x", "wordkir"),
    ],
)
def test_misspelled_flag_is_refused_with_suggestion(flag, message):
    done = avjax("--config", "configs/smoke.py", flag)
    assert done.returncode and message in done.stderr
    assert "Traceback" not in done.stderr


def test_help_lists_the_flags():
    message = avjax("--help").stdout
    for flag in ("--config", "--workdir", "--mode", "dry_run"):
        assert flag in message


def test_missing_folder_is_reported_in_one_line(tmp_path):
    done = avjax(
        "--config", "configs/avid_folder.py", "--config.data.root=/nowhere", "--workdir", str(tmp_path)
    )  # fmt: skip
    assert done.returncode and "config.data.train" in done.stderr and "/nowhere" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "name",
    [
        "avid_folder.py",
        "avid_kinetics.py",
        pytest.param("avid_folder.py:large", marks=pytest.mark.slow),
    ],
)
def test_configs_for_user_videos_pass_dry_run(name, clips_folder, tmp_path):
    """On a folder of a few rendered files, with the batch cut to fit."""
    done = avjax(
        "--config", f"configs/{name}", f"--config.data.root={clips_folder}", "--dry_run",
        "--config.batch_size=4", "--workdir", str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (
        "data.train: video uint8[4, 8" in done.stdout
        and "mesh: {'data': 1, 'fsdp': 1}" in done.stdout
    )
    video = "0.1" if name == "avid_folder.py" else "12.126"  # That of the paper, at 8 x 224 x 224.
    assert f"encoder of video: {video}" in done.stdout
    assert done.stdout.count("groups: no two names") == 1  # Not once a data set.


@pytest.fixture(scope="module")
def clips_folder(tmp_path_factory):
    """Videos in one folder a class."""
    from avjax.data.datasets import synthetic

    root = tmp_path_factory.mktemp("clips")
    source = synthetic.make(str(root / "world"), "train", num_videos=60, seconds=2.5, size=32)
    for record in source:
        place = root / "videos" / source.classes[record["label"]]
        place.mkdir(parents=True, exist_ok=True)
        os.link(record["path"], place / Path(record["path"]).name)
    return root / "videos"


def test_repeated_message_is_shown_once():
    first = jax_setup.drop_duplicates()
    record = lambda text, level=30: logging.LogRecord("a", level, "", 0, "%s", (text,), None)
    shown = [first(record(text)) for text in ("one", "two", "one", "one")]
    assert shown == [True, True, False, False] and first(record("one", level=40))
