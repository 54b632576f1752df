"""A second writer of a run's folder is refused and told by whom; a dead one's lock is taken over."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from avjax.runtime import run_lock

HOLD = (
    "import sys, time; from avjax.runtime import run_lock\n"
    "with run_lock.hold(sys.argv[1]): print('held', flush=True); time.sleep(60)"
)


@pytest.fixture
def holder(tmp_path):
    """A process that holds the folder."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_writer_is_refused_at_once_and_told_by_whom(holder, tmp_path):
    start = time.monotonic()
    with pytest.raises(run_lock.InUse) as error, run_lock.hold(tmp_path):
        pass
    assert time.monotonic() - start < 2
    assert f"process {holder.pid} on {socket.gethostname()} since 20" in str(error.value)


def test_a_process_that_will_be_refused_learns_it_before_it_loads_anything(holder, tmp_path):
    with pytest.raises(run_lock.InUse, match=f"process {holder.pid}"):
        run_lock.check_free(tmp_path)
    holder.kill()
    holder.wait(10)
    run_lock.check_free(tmp_path)
    run_lock.check_free(tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_dead_process_is_taken_over(holder, tmp_path, number):
    holder.send_signal(number)
    holder.wait(10)
    with run_lock.hold(tmp_path):
        owner = json.loads((tmp_path / run_lock.FILENAME).read_text())
        assert owner["pid"] == os.getpid()
    assert (tmp_path / run_lock.FILENAME).read_text() == ""
    with run_lock.hold(tmp_path):
        pass


def test_without_file_locks_the_named_process_decides(tmp_path, monkeypatch):
    def unsupported(file, how):
        raise OSError(37, "no locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    owner = {"host": socket.gethostname(), "pid": os.getppid(), "since": "2026"}
    (tmp_path / run_lock.FILENAME).write_text(json.dumps(owner))
    with pytest.raises(run_lock.InUse, match=f"process {os.getppid()}"), run_lock.hold(tmp_path):
        pass
    (tmp_path / run_lock.FILENAME).write_text(json.dumps(owner | {"pid": 2**22 - 1}))
    with run_lock.hold(tmp_path):
        pass
    (tmp_path / run_lock.FILENAME).write_text(json.dumps(owner | {"host": "elsewhere"}))
    with pytest.raises(run_lock.InUse, match="on elsewhere"), run_lock.hold(tmp_path):
        pass


def test_a_folder_is_waited_for_and_its_owner_named_once(holder, tmp_path, monkeypatch, capsys):
    sleeps = []

    def sleep(seconds):
        sleeps.append(seconds)
        if len(sleeps) == 3:
            holder.kill()
            holder.wait(10)

    monkeypatch.setattr(run_lock.time, "sleep", sleep)
    with run_lock.wait_and_hold(tmp_path, run_lock.FILENAME, "features"):
        pass
    assert len(sleeps) >= 3
    assert capsys.readouterr().err.count(f"features: waiting for process {holder.pid} on") == 1
