"""What a run writes down: metrics.csv, TensorBoard when installed, arrays, unreadable files."""

import csv
import importlib.util
import math
import sys
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np

from avjax.runtime.atomic import replacing
from avjax.runtime.filenames import TEXT, printable

HEADER = ("step", "name", "value")


class Log(NamedTuple):
    """write: (step, {name: scalar}); has: (step, prefix) -> whether such a name was written."""

    write: Callable
    has: Callable


def metrics(workdir, step: int, write: bool = True) -> Log:
    """The log of a run that resumes from `step`: rows of step, name, value in metrics.csv.

    Rows after `step`, which the run is about to write again, are dropped, and damaged lines too.

    Args:
      write: whether this process writes; of a run on many hosts one does.
    """
    path = Path(workdir) / "metrics.csv"
    rows, damaged = _parsed(path)
    rows = [row for row in rows if row[0] <= step]
    seen = {(s, name) for s, name, _ in rows}
    board = _tensorboard(workdir) if write else None
    if write:
        if damaged:
            print(f"{path}: {damaged} damaged line{'s' * (damaged > 1)} left out", flush=True)
        with replacing(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([HEADER, *rows])

    def add(step, scalars):
        new = [(step, name, float(value)) for name, value in scalars.items()]
        seen.update((s, name) for s, name, _ in new)
        if not write:
            return
        with path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(new)  # One write: a kill leaves all rows or few.
        if board:
            for _, name, value in new:
                board.add_scalar(name, value, step)
            board.flush()

    def has(step, prefix):
        return any(s == step and name.startswith(prefix) for s, name in seen)

    return Log(add, has)


def read(workdir) -> list[tuple[int, str, float]]:
    """The rows of a run's metrics.csv; damaged lines are left out."""
    return _parsed(Path(workdir) / "metrics.csv")[0]


def _parsed(path: Path) -> tuple[list[tuple[int, str, float]], int]:
    """(rows, number of damaged lines); a last line that a kill cut short is not one of them."""
    if not path.exists():
        return [], 0
    *lines, _ = path.read_text(encoding="utf-8", errors="replace").split("\n")
    rows, damaged = [], 0
    for line in lines:
        try:
            ((step, name, value),) = csv.reader([line])
            if (step, name, value) != HEADER:
                rows.append((int(step), name, float(value)))
        except (ValueError, csv.Error):
            damaged += 1
    return rows, damaged


def arrays(workdir, name: str, values: dict) -> None:
    """Writes an evaluator's arrays to `workdir/evals/<name>.npz`."""
    path = Path(workdir) / "evals" / f"{name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part, open(part, "wb") as file:
        np.savez(file, **values)


def fault(workdir, process: int = 0) -> Callable[[str, str], None]:
    """A function (path, reason) that names each unreadable file once and lists it in
    unreadable_files.csv.

    Every host reads other files: process n > 0 lists those of its own in faults-n.csv.
    """
    table = Path(workdir) / (f"faults-{process}.csv" if process else "unreadable_files.csv")
    seen = set()

    def note(path, reason):
        if path in seen:
            return
        seen.add(path)
        print(f"skipped {printable(path)}: {printable(reason)}", file=sys.stderr, flush=True)
        with table.open("a", **TEXT) as f:
            csv.writer(f).writerow((path, reason))

    return note


def check_finite(step: int, scalars: dict) -> None:
    """Raises FloatingPointError that names what is not a number."""
    if bad := sorted(name for name, value in scalars.items() if not math.isfinite(value)):
        raise FloatingPointError(
            f"step {step}: {', '.join(bad)} not finite; lower the learning rate; the same command "
            "goes on from the newest checkpoint, which is from before"
        )


def bound(decode: float, transfer: float) -> str:
    """What holds a run up: "bound by step (decoding 3 %, transfer 1 %, step 96 %)".

    decode, transfer: the shares of the time in which the devices wait for it in the end.
    """
    shares = {"decode": decode, "transfer": transfer, "step": 1 - decode - transfer}
    return (
        f"bound by {max(shares, key=shares.get)} (decoding {100 * decode:.0f} %, "
        f"transfer {100 * transfer:.0f} %, step {100 * shares['step']:.0f} %)"
    )


def clock(seconds: float) -> str:
    """1:02:03, or 2:03 below an hour."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _tensorboard(workdir):
    if importlib.util.find_spec("tensorboardX") is None:
        return None
    from tensorboardX import SummaryWriter

    return SummaryWriter(str(Path(workdir) / "tensorboard"))
