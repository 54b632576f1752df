"""Logs of a run: metrics.csv, TensorBoard if installed, arrays, unreadable files."""

import csv
import functools
import io
import os
import re
import sys
import threading
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np

from avjax.runtime import csv_file, distributed, side_files, tensorboard
from avjax.runtime.atomic import atomic_replace
from avjax.runtime.filenames import printable
from avjax.runtime.pending_writes import PendingWrites
from avjax.runtime.regular_files import check_appendable, read_text

HEADER = ("step", "name", "value")
DAMAGED_NAME = re.compile("[\\0-\x1f\x7f\ufffd]")  # Of a metric; U+FFFD: was no UTF-8.


class Log(NamedTuple):
    """The metrics of a run.

    write: (step, {name: scalar}) -> None.
    has: (step, prefix) -> whether a name with this prefix was written at this step.
    pending: delayed writes of all files of the run; a full disk does not end it.
    """

    write: Callable
    has: Callable
    pending: PendingWrites


def open_log(
    workdir: str | os.PathLike, step: int, write: bool = True, append_only: bool = False
) -> Log:
    """Opens metrics.csv (rows of step, name, value) of a run that starts or resumes at `step`.

    Rows after `step`, which the run will write again, and damaged lines are left out; with damaged
    lines the whole file is kept under another name.

    Args:
      workdir: the folder of the run.
      step: number of steps done.
      write: whether this process writes; True in one process of a run.
      append_only: drop nothing, as the run may be going on in another process.
    """
    path = Path(workdir) / "metrics.csv"
    rows, damaged = _parse(path)
    rows = [row for row in rows if row[0] <= step]
    seen = {(s, name) for s, name, _ in rows}
    board, events = Path(workdir) / "tensorboard", None
    if write:
        events = tensorboard.appender(board)
    if write and append_only:
        _end_last_line(path)
    elif write:
        if damaged:
            lines = f"{damaged} line{'s' * (damaged > 1)}"
            side_files.keep(path, lines, f"{len(rows)} rows are used")
        with atomic_replace(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([HEADER, *rows])

    pending = PendingWrites()
    append = pending.appender(path)

    def add(step, scalars):
        new = [(step, name, float(value)) for name, value in scalars.items()]
        seen.update((s, name) for s, name, _ in new)
        if not write:
            return
        text = io.StringIO(newline="")
        csv.writer(text).writerows(new)
        append(text.getvalue())
        if events:
            values = {name: value for _, name, value in new}
            pending.attempt(os.fspath(board), functools.partial(events, step, values))

    def has(step, prefix):
        return any(s == step and name.startswith(prefix) for s, name in seen)

    return Log(add, has, pending)


def read_rows(workdir: str | os.PathLike) -> list[tuple[int, str, float]]:
    """Returns [(step, name, value)] of a run's metrics.csv without damaged lines."""
    return _parse(Path(workdir) / "metrics.csv")[0]


def _parse(path: Path) -> tuple[list[tuple[int, str, float]], int]:
    """Returns (rows, number of damaged lines); an incomplete last line does not count."""
    if not path.exists():
        return [], 0
    *lines, _ = read_text(path, errors="replace").split("\n")
    rows, damaged = [], 0
    for line in lines:
        try:
            ((step, name, value),) = csv.reader([line])
            if (step, name, value) == HEADER:
                continue
            if not name or int(step) < 0 or DAMAGED_NAME.search(name):
                raise ValueError
            rows.append((int(step), name, float(value)))
        except (ValueError, csv.Error):
            damaged += 1
    return rows, damaged


def _end_last_line(path: Path) -> None:
    """Creates a file with the header, or ends its last line if that is incomplete."""
    with path.open("ab+") as file:
        if not file.tell():
            file.write((",".join(HEADER) + "\r\n").encode())
            return
        file.seek(-1, os.SEEK_END)
        if file.read() != b"\n":
            file.write(b"\n")


def write_arrays(workdir: str | os.PathLike, name: str, values: dict[str, np.ndarray]) -> None:
    """Writes an evaluator's arrays to `workdir/evals/<name>.npz`.

    Args:
      workdir: the folder of the run.
      name: of the evaluator.
      values: {name: array}.
    """
    path = Path(workdir) / "evals" / f"{name}.npz"
    side_files.make_folder(path.parent)
    with atomic_replace(path) as part, open(part, "wb") as file:
        np.savez(file, **values)  # pyright: ignore[reportArgumentType]


def unreadable_file_log(
    workdir: str | os.PathLike, process: int = 0, write: bool = True
) -> Callable[[str, str], None]:
    """Returns a function that prints each unreadable file once and lists it in a table.

    The table is unreadable_files.csv, written by process 0, which the others tell what they could
    not read; without a connection to it, that of process n > 0 is unreadable_files-n.csv.

    Args:
      workdir: the folder of the run.
      process: index of this process.
      write: False only prints it.

    Returns:
      (path, reason) -> None.
    """
    table = Path(workdir) / (
        f"unreadable_files-{process}.csv" if process else "unreadable_files.csv"
    )
    seen, append = set(), PendingWrites().appender(table)
    lock, group = threading.Lock(), distributed.current()

    def note(path, reason):
        with lock:
            if path in seen:
                return
            seen.add(path)
        print(f"skipped {printable(path)}: {printable(reason)}", file=sys.stderr, flush=True)
        if group and process:
            group.tell({"fault": [path, reason]})
        elif write:
            check_appendable(table)
            with lock:
                append(csv_file.format_rows([(path, reason)]))

    if group and not process:
        group.on_fault = note
    return note


def bottleneck(decode: float, transfer: float) -> str:
    """Describes the bottleneck of a run: "bound by step (decoding 3 %, transfer 1 %, step 96 %)".

    Args:
      decode, transfer: shares of the time in which the devices wait for it, 0 to 1.
    """
    shares = {"decode": decode, "transfer": transfer, "step": 1 - decode - transfer}
    return (
        f"bound by {max(shares, key=shares.__getitem__)} (decoding {100 * decode:.0f} %, "
        f"transfer {100 * transfer:.0f} %, step {100 * shares['step']:.0f} %)"
    )


def format_duration(seconds: float) -> str:
    """Formats seconds as "1:02:03", or "2:03" below an hour."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
