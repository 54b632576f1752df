"""Starts several processes that do one study together, each on CPU cores of its own."""

import os
import subprocess
import sys
from collections.abc import Sequence

FLAG = "--jobs"


def execute(count: int, argv: Sequence[str]) -> int:
    """Runs the command in several processes, then writes the report; returns the exit status.

    A process that dies is reported, and the others do its runs.  When this process ends, even if
    it is killed, the others save and end too.

    Args:
      count: the number of processes.
      argv: the arguments of the command.

    Raises:
      ValueError: there are fewer CPU cores.
    """
    command = [sys.executable, "-m", "avjax.ablate", *without_flag(argv)]
    processes = []
    try:
        for cores in split_cores(count):
            processes.append(_start([*command, "--helper"], cores))
        codes = [process.wait() for process in processes]
    finally:
        for process in processes:
            process.stdin.close()
        for process in processes:
            process.wait()
    for n, code in enumerate(codes, 1):
        if code not in (0, 1):
            print(f"process {n} of {count} ended with status {code}", file=sys.stderr)
    report = subprocess.run([*command, "--report_only"], check=False)  # noqa: S603 (this Python)
    return max(report.returncode, *(int(code != 0) for code in codes))


def without_flag(argv: Sequence[str]) -> list[str]:
    """Returns the arguments without `--jobs N`."""
    kept, skip = [], False
    for arg in argv:
        if not skip and arg != FLAG and not arg.startswith(f"{FLAG}="):
            kept.append(arg)
        skip = arg == FLAG
    return kept


def split_cores(count: int) -> list[set[int]]:
    """Returns a set of CPU cores for each of `count` processes; empty sets if cores can't be set.

    Raises:
      ValueError: there are fewer cores.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    available = len(cores) or os.cpu_count() or 1
    if not 1 <= count <= available:
        raise ValueError(f"{FLAG} {count}: use 1 to {available}, the number of CPU cores")
    bounds = [i * len(cores) // count for i in range(count + 1)]
    return [set(cores[a:b]) for a, b in zip(bounds, bounds[1:])]


def _start(command: Sequence[str], cores: set[int]) -> subprocess.Popen:
    """Starts a process with an open standard input, in a session of its own."""
    before = os.sched_getaffinity(0) if cores else set()
    if cores:  # The process inherits them.
        os.sched_setaffinity(0, cores)
    try:
        return subprocess.Popen(  # noqa: S603 (this Python)
            command, stdin=subprocess.PIPE, start_new_session=True
        )
    finally:
        if cores:
            os.sched_setaffinity(0, before)
