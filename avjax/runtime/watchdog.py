"""Ends a run that hangs: a step that takes far too long, a loader or a save that never returns.

A thread looks once a second.  The deadline of a step follows from the steps so far; saving has a
longer one, and evaluations, refreshes and compiling have none.
"""

import collections
import contextlib
import faulthandler
import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from avjax.runtime import child_processes

EXIT_CODE = 86  # Exit status of a run that hung.
FACTOR = 20.0  # The deadline of a step, as a multiple of the median ...
NUM_STEPS = 100  # ... of so many latest steps;
MIN_STEPS = 10  # none before there are so many.
MINIMUM_SECONDS = 600.0  # The shortest deadline of a step.
SAVE_FACTOR = 6.0  # The deadline of a save, as a multiple of the shortest one of a step.
POLL_SECONDS = 1.0
WRITE_SECONDS = 5.0  # For the stacks: the file system may be what hangs.
FILENAME = "stacks.txt"  # In the folder of a run.


class Activity(NamedTuple):
    """What the main thread does: its name, when it began, its deadline in seconds (None: none)."""

    name: str
    since: float
    deadline: float | None


IDLE = Activity("", 0.0, None)
STEP = "step"  # Its deadline follows from the steps so far.


class Watchdog:
    """Yielded by `watch`; the loop says what it does.

    Args:
      minimum: the shortest deadline of a step in seconds.
    """

    def __init__(self, minimum: float):
        self.minimum = minimum
        self.activity = IDLE
        self.number = 0  # Of the step that has ended.
        self._seconds: collections.deque[float] = collections.deque(maxlen=NUM_STEPS)

    def step(self, number: int) -> None:
        """Says that step `number` has ended and the next one begins."""
        now = time.monotonic()
        if self.activity.name == STEP:
            self._seconds.append(now - self.activity.since)
        self.activity, self.number = Activity(STEP, now, None), number

    def stop(self) -> None:
        """Says that no step follows."""
        self.activity = IDLE

    @contextlib.contextmanager
    def during(self, name: str) -> Iterator[None]:
        """In the block there is no deadline, and its time is none of the step."""
        with self._activity(name, None):
            yield

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """The block has the deadline of a save, and its time is none of the step."""
        with self._activity("save", SAVE_FACTOR * self.minimum):
            yield

    @contextlib.contextmanager
    def _activity(self, name: str, deadline: float | None) -> Iterator[None]:
        outer, begin = self.activity, time.monotonic()
        self.activity = Activity(name, begin, deadline)
        try:
            yield
        finally:
            self.activity = outer._replace(since=outer.since + time.monotonic() - begin)

    def median(self) -> float | None:
        """Returns the median seconds of the latest steps; None if there are too few."""
        seconds = list(self._seconds)
        return statistics.median(seconds) if len(seconds) >= MIN_STEPS else None

    def deadline(self, activity: Activity) -> float | None:
        """Returns the seconds that an activity may take; None for any number."""
        if activity.name != STEP:
            return activity.deadline
        median = self.median()
        return None if median is None else max(self.minimum, FACTOR * median)


@contextlib.contextmanager
def watch(workdir: str | os.PathLike, minimum: float = MINIMUM_SECONDS) -> Iterator[Watchdog]:
    """In the block a hang ends the process: stacks of all threads, one line, exit status 86.

    The stacks go to stderr and to stacks.txt in the folder of the run.  Processes that this one
    started are killed.  Time in which this process itself is stopped does not count.

    Args:
      workdir: the folder of the run.
      minimum: the shortest deadline of a step in seconds; 0 for no watchdog.
    """
    dog, ended = Watchdog(minimum), threading.Event()
    if not minimum:
        yield dog
        return
    args = dog, ended, Path(workdir)
    thread = threading.Thread(target=_poll, args=args, name="watchdog", daemon=True)
    thread.start()
    try:
        yield dog
    finally:
        ended.set()
        thread.join()


def _poll(dog: Watchdog, ended: threading.Event, workdir: Path) -> None:
    """Adds up the seconds of the present activity, and ends the process at its deadline."""
    interval = min(POLL_SECONDS, dog.minimum / 4)
    activity, elapsed, last = IDLE, 0.0, time.monotonic()
    while not ended.wait(interval):
        now = time.monotonic()
        passed, last = min(now - last, 2 * interval), now  # More: the process was stopped.
        elapsed = elapsed + passed if dog.activity is activity else 0.0
        activity = dog.activity
        deadline = dog.deadline(activity)
        if deadline is not None and elapsed > deadline:
            _end(dog, activity, deadline, elapsed, workdir)


def _end(dog: Watchdog, activity: Activity, deadline: float, elapsed: float, workdir: Path) -> None:
    """Writes the stacks of all threads and ends the process."""
    what = f"step {dog.number + 1}" if activity.name == STEP else f"the {activity.name}"
    median = dog.median()
    usual = "" if median is None else f"; the median of a step is {median:.3g} s"
    line = f"{what} has not ended after {elapsed:.3g} s (deadline {deadline:.3g} s{usual})"
    writer = threading.Thread(target=_write, args=(workdir / FILENAME, line), daemon=True)
    writer.start()
    writer.join(WRITE_SECONDS)
    child_processes.kill()
    os._exit(EXIT_CODE)


def _write(path: Path, line: str) -> None:
    """Writes the stacks to stderr and appends them to a file, whose file system may hang."""
    print(f"avjax: {line}: the stacks of all threads:", file=sys.stderr, flush=True)
    faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
    print(
        f"avjax: {line}: the stacks are above and in {path}; re-run the command to resume from "
        "the latest checkpoint",
        file=sys.stderr,
        flush=True,
    )
    with open(path, "a", encoding="utf-8") as file:
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        print(f"{now} process {os.getpid()}: {line}", file=file, flush=True)
        faulthandler.dump_traceback(file, all_threads=True)
