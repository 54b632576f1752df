"""Whoever only looks at a run changes nothing of it, also while the run is going on."""

import os
import shutil
import time

import numpy as np
import pytest

import avjax
from avjax import embed, evaluate
from avjax.report import run_page
from avjax.runtime import checkpoint, metrics_writer
from avjax.training import experiment, init_from
from avjax.weights import exporting
from tests import tiny

SAVING = "4.orbax-checkpoint-tmp"  # Orbax's name of a save of step 4 that is under way.


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "finished"
    tiny.run(tiny.config(world, steps=2), folder)
    return folder


@pytest.fixture
def run(finished, tmp_path):
    """The folder of a run as it is while step 4 is saved."""
    folder = shutil.copytree(finished, tmp_path / "run")
    shutil.copytree(
        folder / "checkpoints" / "2" / "default", folder / "checkpoints" / SAVING / "default"
    )
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)
    with (folder / "metrics.csv").open("a") as file:
        file.write("3,loss,1.5\r\n4,loss,1.25\r\n5,lo")  # The last row is being written.
    return folder


def contents(folder, without=()):
    """{path: (bytes, time of the last change)} of all files, and the folders there are."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name.split(os.sep)[0] not in without:
            found[name] = (path.read_bytes(), path.stat().st_mtime_ns) if path.is_file() else None
    return found


def load(run, out):
    assert avjax.load(run, trust=("tests",)).step == 2


def embed_files(run, out):
    videos = str(next((run / "..").resolve().glob("*.mp4")))
    options = ["--out", str(out / "x.npz"), "--workers", "0", "--trust", "tests"]
    embed.main(["--run", str(run), videos, *options])


def evaluate_suite(run, out):
    options = ["--out", str(out / "table"), "--workers", "0", "--trust", "tests"]
    trust = ["--trust", "avjax.data.datasets.synthetic"]
    evaluate.main(["--run", str(run), "--suite", "retrieval", "--untrained", *options, *trust])


def export(run, out):
    assert exporting.load_run(run)[2] == 2


def init(run, out):
    shapes = checkpoint.restore_latest(run, shapes=True)
    assert shapes["params"] and init_from.validate  # As dry runs and runs with init_from do.
    checkpoint.restore_latest(run)


READERS = {
    "load": load,
    "embed": embed_files,
    "evaluate": evaluate_suite,
    "export": export,
    "init_from": init,
}


@pytest.mark.parametrize("reader", READERS)
def test_readers_change_nothing(reader, run, tmp_path, world):
    shutil.copy(next(world.rglob("*.mp4")), tmp_path / "x.mp4")
    before = contents(run)
    READERS[reader](run, tmp_path)
    time.sleep(0.2)  # What Orbax removes is removed in the background.
    assert contents(run) == before


def test_the_report_writes_its_page_and_nothing_else(run):
    before = contents(run, ("report.html", "evals"))
    evals = {path: path.read_bytes() for path in run.glob("evals/*.npz")}
    run_page.write(run)
    assert contents(run, ("report.html", "evals")) == before and (run / "report.html").exists()
    assert {path: path.read_bytes() for path in run.glob("evals/*.npz")} == evals


def test_an_evaluation_adds_its_scores_and_nothing_else(run, world):
    added = ("metrics.csv", "evals", "report.html", "tensorboard")
    before, metrics = contents(run, added), (run / "metrics.csv").read_bytes()
    parts = experiment.build(tiny.config(world, steps=2))
    tiny.train.run(parts, run, train=False)
    assert contents(run, added) == before
    now = (run / "metrics.csv").read_bytes()
    assert now.startswith(metrics + b"\n")
    rows = metrics_writer.read_rows(run)
    assert (4, "loss", 1.25) in rows
    new = now[len(metrics) + 1 :].decode().splitlines()
    assert new and all(line.startswith("2,eval/world/") for line in new)


def test_an_evaluation_of_a_damaged_file_lists_nothing(tmp_path):
    metrics_writer.unreadable_file_log(tmp_path, write=False)("x.mp4", "is cut short")
    assert not [*tmp_path.iterdir()]


def test_a_new_writer_removes_unfinished_saves(run):
    """So that the folder of the other tests is one that Orbax takes for a save under way."""
    with checkpoint.open_checkpoints(run) as checkpoints:
        assert checkpoints.manager.latest_step() == 2
        deadline = time.monotonic() + 30  # It is done in the background.
        while (run / "checkpoints" / SAVING).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert not (run / "checkpoints" / SAVING).exists()


def test_readers_work_on_a_disk_that_is_read_only(run, monkeypatch):
    """Nothing is even opened for writing."""
    opened, real = [], os.open

    def note(path, flags, *more, **options):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and str(path).startswith(str(run)):
            opened.append(path)
        return real(path, flags, *more, **options)

    monkeypatch.setattr(os, "open", note)
    saved = checkpoint.restore_latest(run)
    assert not opened and int(np.asarray(saved["step"])) == 2
