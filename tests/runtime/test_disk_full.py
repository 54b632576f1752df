"""A full disk: a save that fails is told in one line, and the run goes on until the third."""

import contextlib
import errno
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from avjax.runtime import (
    atomic,
    checkpoint,
    leftovers,
    manifest,
    metrics_writer,
    pending_writes,
    save_failures,
)  # fmt: skip
from avjax.types import TrainState
from tests import tiny

ROOT = Path(__file__).parents[2]


def state(step):
    weights = {f"w{i}": jnp.arange(5000.0) + i for i in range(20)}
    return TrainState(jnp.int32(step), jax.random.key(0), weights, (), {})


def steps(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


@contextlib.contextmanager
def small_files():
    """No file can be written beyond 4 kB in the block, by whatever library."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def fail(checkpoints, step):
    """A save that is accepted, and fails in the background."""
    for thread in checkpoints.completing:
        thread.join()
    with small_files():
        checkpoint.save(checkpoints, state(step), 2)
        for thread in checkpoints.completing:
            thread.join()


def test_failed_saves_are_told_at_once_in_one_line_and_leave_nothing(tmp_path, caplog):
    with checkpoint.open_checkpoints(tmp_path) as checkpoints:
        checkpoint.save(checkpoints, state(1), 2)
        for step in (2, 3):
            fail(checkpoints, step)
            (line,) = [r.getMessage() for r in caplog.records if "not saved" in r.getMessage()]
            assert line.startswith(f"step {step} is not saved in {tmp_path}/checkpoints: ")
            assert line.endswith(f"File too large (failure {step - 1} in a row, the run ends at 3)")
            assert not [record for record in caplog.records if record.levelname == "ERROR"]
            assert steps(tmp_path) == ["1"]
            caplog.clear()
        checkpoint.save(checkpoints, state(4), 2)  # The disk has space again.
        checkpoint.wait_until_finished(checkpoints, 2)
        assert checkpoints.failures.in_a_row == 0
    assert steps(tmp_path) == ["1", "4"]
    assert manifest.damage(tmp_path / "checkpoints" / "4") == ""


def test_the_third_failure_in_a_row_is_an_error(tmp_path):
    with pytest.raises(OSError, match="is not saved in .*, 3 saves in a row failed: .*re-run"):
        with checkpoint.open_checkpoints(tmp_path) as checkpoints:
            for step in (1, 2, 3):
                fail(checkpoints, step)
            checkpoint.save(checkpoints, state(4), 2)
    assert steps(tmp_path) == []


def test_a_last_save_that_fails_is_an_error(tmp_path):
    with pytest.raises(OSError, match="1 saves in a row failed"):
        with checkpoint.open_checkpoints(tmp_path) as checkpoints:
            fail(checkpoints, 1)


def test_a_run_goes_on_while_the_disk_is_full(world, tmp_path, monkeypatch, caplog):
    """Two saves do not fit, the third one does; nothing of the log is lost."""
    original = checkpoint.save

    def save(checkpoints, ts, *args):
        free = 10**12 if int(ts.step) in (2, 8) else 10**6
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
            original(checkpoints, ts, *args)

    monkeypatch.setattr(checkpoint, "save", save)
    config = tiny.config(world, steps=8, evals={})
    tiny.run(config, tmp_path)
    lines = [record.getMessage() for record in caplog.records if "saved" in record.getMessage()]
    assert [line.split(" in ")[0] for line in lines] == [
        "step 4 is not saved",
        "step 6 is not saved",
    ]
    assert "the disk has 1.0 MB free, a checkpoint needs 1.1 MB: free some space" in lines[0]
    assert steps(tmp_path) == ["2", "8"]
    found = [step for step, name, _ in metrics_writer.read_rows(tmp_path) if name == "loss"]
    assert found == list(range(1, 9))


FULL_DISK = """
import os, shutil, sys
from avjax.runtime import checkpoint, save_failures
from tests.runtime.test_disk_full import state
folder = sys.argv[1]
with checkpoint.open_checkpoints(folder) as checkpoints:
    for step in (1, 2, 3, 4, 5):
        if step in (2, 4):
            with open(f"{folder}/fill", "wb") as file:
                file.write(bytes(shutil.disk_usage(folder).free - 65536))
        else:
            os.path.exists(f"{folder}/fill") and os.remove(f"{folder}/fill")
        if step == 4:  # As if the space had run out after the check.
            save_failures.SPACE_FACTOR = save_failures.SPACE_MARGIN = 0
        checkpoint.save(checkpoints, state(step), 2)
        checkpoints.completing[-1].join()
        print(sorted(os.listdir(f"{folder}/checkpoints")), file=sys.stderr)
"""


def test_a_small_file_system(tmp_path):
    """A file system of 3.5 MB in memory, full before a save, and during one."""
    if shutil.which("unshare") is None or os.geteuid():
        pytest.skip("needs root, to mount a file system in memory")
    script = 'mount -t tmpfs -o size=3500k tmpfs "$1" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", tmp_path, sys.executable, FULL_DISK]
    env = os.environ | dict(PYTHONPATH=str(ROOT), JAX_PLATFORMS="cpu")
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=ROOT)
    if done.stderr.startswith(("mount:", "unshare:")):
        pytest.skip(f"no file system in memory here: {done.stderr[:80]}")
    lines = done.stderr.splitlines()
    assert [line for line in lines if line.startswith("[")] == [
        "['1']", "['1']", "['1', '3']", "['1', '3']", "['1', '3', '5']",
    ], done.stderr  # fmt: skip
    two, four = [line for line in lines if not line.startswith("[")]
    assert "step 2 is not saved" in two and "the disk has 0.1 MB free" in two
    assert "step 4 is not saved" in four and "no space left on the disk: free some" in four


def full(*args):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_metrics_are_kept_in_memory_while_the_disk_is_full(tmp_path, monkeypatch, caplog):
    log = metrics_writer.open_log(tmp_path, 0)
    log.write(1, {"loss": 1.0})
    with monkeypatch.context() as patch:
        patch.setattr(pending_writes, "append", full)
        log.write(2, {"loss": 2.0})
        log.write(3, {"loss": 3.0})
        log.pending.attempt("x.npz", full)
        with pytest.raises(OSError, match="No space left"):
            log.pending.finish()
    assert [r.getMessage().split(": ", 1)[1] for r in caplog.records] == [
        "no space left on the disk; it is kept and written later"
    ] * 2
    assert log.has(3, "loss") and len(metrics_writer.read_rows(tmp_path)) == 1
    log.pending.attempt("x.npz", lambda: None)
    log.write(4, {"loss": 4.0})
    log.pending.finish()
    assert [step for step, _, _ in metrics_writer.read_rows(tmp_path)] == [1, 2, 3, 4]


def test_other_errors_are_raised():
    def denied():
        raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(PermissionError):
        pending_writes.PendingWrites().attempt("file", denied)
    assert save_failures.is_disk_full(ValueError("... No space left on device [os_error..."))


def test_an_append_that_fails_changes_nothing(tmp_path):
    path = tmp_path / "file"
    atomic.append(path, "a" * 4000)
    with small_files(), pytest.raises(OSError, match="File too large"):
        atomic.append(path, "b" * 1000)
    assert path.read_text() == "a" * 4000


def test_unfinished_files_are_deleted_at_the_start(tmp_path):
    (tmp_path / "evals").mkdir()
    names = ["config.json.0123abcd.part", "evals/world.npz.00000000.part", "mine.part", "a.txt"]
    for name in names:
        (tmp_path / name).touch()
    leftovers.remove(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["a.txt", "mine.part"]
