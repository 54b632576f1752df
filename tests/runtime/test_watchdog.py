"""A run that hangs ends with the stacks of its threads and a status of its own."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from avjax.runtime import watchdog
from tests import tiny

ROOT = Path(__file__).parents[2]
HANG = "threading.Event().wait(60)"


def run(code, folder):
    """The finished program, whose watchdog has a deadline of 0.2 s or more."""
    program = f"""
import subprocess, sys, threading, time
from avjax.runtime import watchdog
with watchdog.watch({str(folder)!r}, 0.2) as dog:
    for n in range(12):
        dog.step(n)
        time.sleep(0.002)
"""
    program += textwrap.indent(textwrap.dedent(code), "    ")
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=50
    )


@pytest.mark.parametrize("what", ["step", "save"])
def test_hang_ends_with_stacks_of_all_threads(what, tmp_path):
    """Also where the folder, for the stacks, is gone."""
    folder = tmp_path if what == "step" else tmp_path / "gone"
    hang = f"""
        def it_hangs():
            {HANG}
        threading.Thread(target=it_hangs, daemon=True).start()
        {HANG if what == "step" else f"with dog.saving(): {HANG}"}
    """
    start = time.monotonic()
    done = run(hang, folder)
    assert done.returncode == watchdog.EXIT_CODE == 86, done.stderr
    assert time.monotonic() - start < 30
    text = "step 12 has not ended after" if what == "step" else "the save has not ended after"
    assert text in done.stderr and "re-run the command to resume" in done.stderr
    assert "in it_hangs" in done.stderr and "Thread 0x" in done.stderr
    if what == "step":
        assert "in it_hangs" in (folder / "stacks.txt").read_text()


def test_processes_that_the_run_started_are_killed(tmp_path):
    done = run(
        f"""
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print(child.pid, flush=True)
        {HANG}
        """,
        tmp_path,
    )
    assert done.returncode == 86
    assert not running(int(done.stdout))


def running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_no_deadline_before_enough_steps_in_evaluations_and_after_the_end(tmp_path):
    done = run(
        """
        with dog.during("evaluation"):
            time.sleep(1)
        dog.stop()
        time.sleep(1)
        few = watchdog.Watchdog(0.1)
        for n in range(watchdog.MIN_STEPS):
            few.step(n)
        assert few.deadline(few.activity) is None
        few.step(n + 1)
        assert few.deadline(few.activity) == 0.1
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "stacks.txt").exists()


def test_time_in_which_the_process_is_stopped_does_not_count(tmp_path):
    code = (
        "import time; from avjax.runtime import watchdog\n"
        f"with watchdog.watch({str(tmp_path)!r}, 1.0) as dog:\n"
        "    for n in range(12): dog.step(n)\n"
        "    print('ready', flush=True); time.sleep(0.5)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGSTOP)
    time.sleep(2)
    process.send_signal(signal.SIGCONT)
    assert process.wait(30) == 0


def test_deadline_follows_the_median_and_leaves_out_evaluations(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(watchdog.time, "monotonic", lambda: clock[0])
    dog = watchdog.Watchdog(10.0)
    for n in range(20):
        dog.step(n)
        clock[0] += 2.0 if n % 5 else 50.0  # A slow one now and then.
        with dog.during("evaluation"):
            clock[0] += 1000.0
    assert dog.median() == 2.0
    assert dog.deadline(dog.activity) == watchdog.FACTOR * 2.0
    with dog.saving():
        assert dog.deadline(dog.activity) == watchdog.SAVE_FACTOR * 10.0


PROGRAM = """
import json, pathlib, sys, threading
from avjax.training import loop
from tests import tiny

def children(pid):
    lists = pathlib.Path(f"/proc/{pid}/task").glob("*/children")
    return [pid for path in lists for pid in path.read_text().split()]

def hang(batches, mesh, original=loop.next_batch, calls=[]):
    calls.append(0)
    if len(calls) == 14:
        below = children("self")
        print(*below, *(pid for one in below for pid in children(one)), flush=True)
        threading.Event().wait(60)
    return original(batches, mesh)

loop.next_batch = hang
tiny.run(json.load(open(sys.argv[1])), sys.argv[2])
"""


def test_run_whose_loader_hangs_ends_and_leaves_no_process(world, tmp_path):
    config = tiny.config(world, steps=20, evals={}, watchdog=2)
    config["data"]["train"]["workers"] = 1
    (tmp_path / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-c", PROGRAM, tmp_path / "config.json", tmp_path / "run"]
    environment = os.environ | dict(JAX_PLATFORMS="cpu", PYTHONPATH=str(ROOT))
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 86, done.stderr
    assert "step 14 has not ended" in done.stderr
    assert "in hang" in (tmp_path / "run" / "stacks.txt").read_text()
    assert (tmp_path / "run" / "checkpoints" / "12").exists()
    pids = [int(pid) for pid in done.stdout.splitlines()[-1].split()]
    assert len(pids) == 2  # A fork server and its worker.
    until = time.monotonic() + 5
    while any(running(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(running(pid) for pid in pids)
