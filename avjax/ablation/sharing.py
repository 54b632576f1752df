"""Processes that do one study together: each run is done by the process that claims it."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import jax

from avjax.ablation.study import Run
from avjax.config import tree
from avjax.runtime import run_lock

CLAIM = "claim.lock"  # In the folder of a run, beside the lock of its training.


@contextlib.contextmanager
def claim(folder: Path, name: str) -> Iterator[bool]:
    """Claims a run during the block; yields False if another process has claimed it.

    The claim of a process that dies is free again.  The processes of one distributed run do the
    same runs in the same order, without claims.

    Args:
      folder: of the study.
      name: of the run.
    """
    with contextlib.ExitStack() as stack:
        if jax.process_count() == 1:
            try:
                stack.enter_context(run_lock.hold(folder / "runs" / name, CLAIM))
            except run_lock.InUse:
                yield False
                return
        yield True


def dependencies(folder: Path, run: Run, config: dict, runs: Sequence[Run]) -> set[str]:
    """Returns the names of the runs that must be finished before a run.

    These are the tuning runs of its batch size, if it has no learning rate yet, and the runs whose
    folders are named in its config, e.g. in `init_from`.

    Args:
      folder: of the study.
      run: the run.
      config: of the run, with any learning rate.
      runs: of the study.
    """
    found = set()
    if run.learning_rate is None:
        found |= {
            r.name for r in runs
            if r.learning_rate is not None and r.arm.batch == run.arm.batch
        }  # fmt: skip
    prefix = f"{folder.resolve() / 'runs'}{os.sep}"
    names = {
        value.removeprefix(prefix).split(os.sep)[0]
        for _, value in tree.walk(config)
        if isinstance(value, str) and value.startswith(prefix)
    }
    return found | (names & {r.name for r in runs}) - {run.name}


def failure_times(folder: Path, runs: Sequence[Run]) -> dict[str, int]:
    """Returns {name of a run: time of its failure, in ns} of the runs that failed last time."""
    paths = {run.name: folder / "runs" / run.name / "failure.txt" for run in runs}
    return {name: path.stat().st_mtime_ns for name, path in paths.items() if path.exists()}


def failed_elsewhere(folder: Path, run: Run, before: Mapping[str, int]) -> bool:
    """Whether another process failed in a run.

    Args:
      folder: of the study.
      run: the run, not tried by this process.
      before: the result of `failure_times` when this process started.
    """
    return failure_times(folder, [run]).get(run.name) not in (None, before.get(run.name))


def end_with_input() -> None:
    """Ends this process as SIGTERM does when its standard input is closed.

    So it ends with the process that holds the other end, also if that one is killed.
    """

    def wait() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
