"""What a run says: metrics.csv, TensorBoard when installed, a progress bar or plain lines."""

import csv
import importlib.util
import math
import sys
import time
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np

from avjax.data.filenames import TEXT, printable


class Log(NamedTuple):
    """write: (step, {name: scalar}); has: (step, prefix) -> whether such a name was written."""

    write: Callable
    has: Callable


def metrics(workdir, step: int) -> Log:
    """The log of a run that goes on from `step`: rows of step, name, value in metrics.csv.

    Rows after `step`, which the run is about to write again, are dropped.
    """
    path = Path(workdir) / "metrics.csv"
    rows = [row for row in read(workdir) if row[0] <= step]
    whole = path.with_suffix(".new")
    with whole.open("w", newline="") as f:
        csv.writer(f).writerows([("step", "name", "value"), *rows])
    whole.replace(path)
    seen = {(s, name) for s, name, _ in rows}
    board = _tensorboard(workdir)

    def write(step, scalars):
        new = [(step, name, float(value)) for name, value in scalars.items()]
        seen.update((s, name) for s, name, _ in new)
        with path.open("a", newline="") as f:  # One write: a kill leaves all rows or few.
            csv.writer(f).writerows(new)
        if board:
            for _, name, value in new:
                board.add_scalar(name, value, step)
            board.flush()

    def has(step, prefix):
        return any(s == step and name.startswith(prefix) for s, name in seen)

    return Log(write, has)


def read(workdir) -> list[tuple[int, str, float]]:
    """The rows of a run's metrics.csv; a last line that a kill cut short is left out."""
    path = Path(workdir) / "metrics.csv"
    if not path.exists():
        return []
    *lines, rest = path.read_text().split("\n")
    rows = list(csv.reader(lines))[1:]
    return [(int(step), name, float(value)) for step, name, value in rows]


def arrays(workdir, name: str, values: dict) -> None:
    """Writes an evaluator's arrays to `workdir/evals/<name>.npz`."""
    path = Path(workdir) / "evals" / f"{name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".new").open("wb") as f:
        np.savez(f, **values)
    path.with_suffix(".new").replace(path)


def fault(workdir) -> Callable[[str, str], None]:
    """A function (path, reason) that names each unreadable file once and lists it in faults.csv."""
    seen = set()

    def note(path, reason):
        if path in seen:
            return
        seen.add(path)
        print(f"skipped {printable(path)}: {printable(reason)}", file=sys.stderr, flush=True)
        with (Path(workdir) / "faults.csv").open("a", **TEXT) as f:
            csv.writer(f).writerow((path, reason))

    return note


def check_finite(step: int, scalars: dict) -> None:
    """Raises FloatingPointError that names what is not a number."""
    if bad := sorted(name for name, value in scalars.items() if not math.isfinite(value)):
        raise FloatingPointError(
            f"step {step}: {', '.join(bad)} not finite; lower the learning rate; the same command "
            "goes on from the newest checkpoint, which is from before"
        )


class Progress(NamedTuple):
    """advance: (step, {name: scalar} or None); close: ()."""

    advance: Callable
    close: Callable


def progress(total: int, start: int) -> Progress:
    """A bar with the time left on a terminal, plain lines elsewhere."""
    if not sys.stdout.isatty():
        return _lines(total, start)
    from rich import progress as rich

    line = rich.Progress(
        rich.TextColumn("step"),
        rich.MofNCompleteColumn(),
        rich.BarColumn(),
        rich.TimeRemainingColumn(),
        rich.TextColumn("left  {task.fields[said]}"),
    )
    task = line.add_task("", total=total, completed=start, said="")
    line.start()

    def advance(step, scalars=None):
        said = {} if scalars is None else {"said": say(scalars)}
        line.update(task, completed=step, **said)

    return Progress(advance, line.stop)


def _lines(total, start):
    began = time.perf_counter()

    def advance(step, scalars=None):
        if scalars is not None:
            left = (time.perf_counter() - began) / max(1, step - start) * (total - step)
            print(f"step {step}/{total}  {say(scalars)}  {clock(left)} left", flush=True)

    return Progress(advance, lambda: None)


def say(scalars: dict) -> str:
    """The few metrics that one follows, in one line."""
    held = bound(scalars["wait_share"], scalars["transfer_share"])
    return f"loss {scalars['loss']:.4f}  {scalars['clips_per_second']:.1f} clips/s  {held}"


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
