"""Runs of several processes that signals stop, or whose processes die.

The slow tests do it HOSTS_TIMES times (10) with 2 and 4 processes, in everything that a run does:
`python -m pytest -m slow -n 0 tests/hosts`.  On a machine without much time to spare HOSTS_LIMIT is
raised from 900 s, and HOSTS_SECONDS from 30, the bound that is tested.
"""

import csv
import os
import signal

import numpy as np
import pytest

from tests.hosts import several

TIMES = int(os.environ.get("HOSTS_TIMES", 10))
SECONDS = float(os.environ.get("HOSTS_SECONDS", 30))  # From a signal to the end of all.
PEER_LOST = 87
# What each start of the run is stopped in, the signal, its process, and the step saved then.
STOPS = (
    ("start", signal.SIGUSR1, 1, None),
    ("step 1", signal.SIGTERM, 0, 1),  # While it compiles.
    ("evaluation 0", signal.SIGTERM, 1, 2),
    ("step 3", signal.SIGUSR1, -1, 3),
    ("refresh 1", signal.SIGTERM, 0, 5),
    ("save 6", signal.SIGUSR1, 1, 6),
    ("evaluation 8", signal.SIGTERM, -1, 8),
)


def table(folder):
    """{(step, name): value} of what is the same in each run; each may be there once."""
    with open(folder / "metrics.csv", newline="") as file:
        rows = [
            (int(row["step"]), row["name"], float(row["value"])) for row in csv.DictReader(file)
        ]
    rows = [row for row in rows if not row[1].startswith(("clips_per", "time/"))]
    found = {row[:2]: row[2] for row in rows}
    assert len(found) == len(rows)
    return found


def saved(folder):
    """The newest step that is saved completely; None without one."""
    steps = [int(path.parent.name) for path in folder.glob("checkpoints/*/commit_success.txt")]
    return max(steps, default=None)


def assert_stopped(ends, status=75, most=SECONDS):
    """All ended with the same status, in time."""
    for code, text, seconds in ends:
        assert code == status, ends
        assert seconds < most, (seconds, text)


def assert_lost(ends, dead, code, most=SECONDS):
    """One process ended by itself; the others named it and ended, in time."""
    for n, (status, text, seconds) in enumerate(ends):
        if n == dead:
            assert status == code, ends
            continue
        # JAX itself aborts half a second after the end of process 0.
        assert status == PEER_LOST or dead == 0 and status == -signal.SIGABRT, ends
        assert f"avjax: process {dead} (" in text and seconds < most, (seconds, text)


def test_two_processes_stop_together_and_end_together(world, tmp_path):
    """SIGUSR1 to one, then, when the run has resumed, the death of the other.

    Other tests compute beside it, so the bound is a loose one.
    """
    options = dict(HOSTS_EVALS=0, HOSTS_STEPS=6)
    moment = f"step 2:{int(signal.SIGUSR1)}"
    ends = several.wait(several.start(world, tmp_path, 2, moment=moment, rank=1, **options))
    assert_stopped(ends, most=10 * SECONDS)
    assert saved(tmp_path) == 2
    (line,) = (line for _, text, _ in ends for line in text.splitlines() if "stopped by" in line)
    assert line.startswith(f"avjax: stopped by SIGUSR1: step 2 is saved in {tmp_path}")
    assert {step for step, _ in table(tmp_path)} == {1, 2}
    moment = f"step 4:{int(signal.SIGKILL)}"
    ends = several.wait(several.start(world, tmp_path, 2, moment=moment, rank=0, **options))
    assert_lost(ends, 0, -signal.SIGKILL, most=10 * SECONDS)
    assert "resuming from step 2 of 6" in ends[0][1]


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_run_stopped_in_everything_ends_as_undisturbed(world, tmp_path, count):
    several.run(world, tmp_path / "whole", 1, devices=count)
    want = table(tmp_path / "whole")
    for number in range(TIMES):
        folder = tmp_path / str(number)
        for moment, signum, rank, step in STOPS:
            rank, when = rank % count, f"{moment}:{int(signum)}"
            ends = several.wait(several.start(world, folder, count, moment=when, rank=rank))
            print(count, number, moment, saved(folder), [round(one[2], 1) for one in ends])
            # The last evaluation may end before all processes have agreed to stop.
            finished = moment == STOPS[-1][0] and not any(code for code, *_ in ends)
            assert_stopped(ends, 0 if finished else 75)
            assert saved(folder) == step, ends
        several.run(world, folder, count)
        found = table(folder)
        assert found.keys() == want.keys()
        np.testing.assert_allclose(
            [found[key] for key in want], [want[key] for key in want], rtol=1e-4, atol=1e-5
        )


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("dead", [0, 1])
def test_death_of_one_ends_the_others(world, tmp_path, count, dead):
    """Killed, frozen, or ended by a second signal."""
    second = f"{int(signal.SIGUSR1)},{int(signal.SIGTERM)}"
    kinds = ((signal.SIGKILL, -9), (signal.SIGSTOP, -9), (second, 128 + signal.SIGTERM))
    for number in range(TIMES):
        for signum, code in kinds:
            folder, when = tmp_path / str(number), f"step 2:{signum if code > 0 else int(signum)}"
            processes = several.start(world, folder, count, moment=when, rank=dead, HOSTS_EVALS=0)
            if signum == signal.SIGSTOP:
                several.kill_when_others_ended(processes, dead)
            ends = several.wait(processes)
            print(count, number, signum, [round(one[2], 1) for one in ends])
            assert_lost(ends, dead, code)
        several.run(world, folder, count, HOSTS_EVALS=0)
        steps = [step for step, name in table(folder) if name == "loss"]
        assert steps == list(range(1, 9))
