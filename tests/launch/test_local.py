"""launch/local.py with processes that stand for those of avjax."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.launch.dry_runs import ROOT

RANK = """\
import argparse, os, signal, sys, time
p = argparse.ArgumentParser()
for flag in ("--coordinator", "--process_id", "--process_count", "--do"):
    p.add_argument(flag)
args = p.parse_args()
def saved(*_):
    os.write(1, b"saved" + os.linesep.encode())  # A signal may come while `print` is at work.
    sys.exit(75)
"""


@pytest.fixture
def launch(tmp_path):
    """A function (body of each process, its argument, flags): starts three of them."""

    def start(body, do="", *flags):
        (tmp_path / "rank.py").write_text(RANK + body)
        command = [sys.executable, str(ROOT / "launch" / "local.py"), "--processes=3", *flags]
        return subprocess.Popen(
            [*command, "--module=rank", "--", f"--do={do}"],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return start


def test_processes_get_their_numbers_and_one_coordinator(launch):
    process = launch("print(args.process_id, args.process_count, args.coordinator, args.do)", "a b")
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    lines = sorted(out.splitlines())
    coordinator = lines[0].split()[3]
    assert coordinator.startswith("127.0.0.1:")
    assert lines == [f"[{n}] {n} 3 {coordinator} a b" for n in range(3)]


def test_a_failure_ends_the_others(launch):
    body = 'sys.exit(3) if args.process_id == "1" else time.sleep(60)'
    begin = time.monotonic()
    process = launch(body)
    process.communicate(timeout=30)
    assert process.returncode == 3 and time.monotonic() - begin < 20


def test_a_process_that_does_not_end_is_killed(launch):
    body = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("pid", os.getpid(), flush=True)
if args.process_id == "1":
    time.sleep(1)  # The others ignore SIGTERM by then.
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(60)
"""
    process = launch(body, "", "--grace_seconds=0.5")
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGKILL
    for pid in {int(line.split()[-1]) for line in out.splitlines() if "pid" in line}:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_processes_that_save_are_not_disturbed(launch):
    body = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))
time.sleep(float(args.process_id))
saved()
"""
    process = launch(body)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 75
    assert sorted(out.splitlines()) == ["[0] saved", "[1] saved", "[2] saved"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_signals_are_passed_on(launch, number):
    body = """
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, saved)
print("ready", flush=True)
while True:  # A signal that comes just before a sleep does not end it.
    time.sleep(0.1)
"""
    process = launch(body)
    for _ in range(3):
        assert "ready" in process.stdout.readline()
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 75 and out.count("saved") == 3
