"""What a run shows while it trains: a progress line that fits the terminal, or plain lines."""

import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from avjax.runtime import metrics_writer

BAR = 24  # Characters of the bar, at most; at least a third of it.
DATA_BOUND = 0.1  # Share of waiting for data from which on it is shown.


class Progress(NamedTuple):
    """advance: (step, {name: scalar} or None) after each step; close: ()."""

    advance: Callable
    close: Callable


def progress(total: int, shown: bool = True) -> Progress:
    """The progress of a run of `total` steps: on a terminal one line, elsewhere many.

    Args:
      shown: False for all processes of a run but one.
    """
    if not shown:
        return Progress(lambda step, scalars=None: None, lambda: None)
    left = _estimate(total)
    if not sys.stdout.isatty():

        def advance(step, scalars=None):
            seconds = left(step)
            if scalars is not None:
                print(line(step, total, seconds, scalars), flush=True)

        return Progress(advance, lambda: None)
    from rich import live, text

    display, known = live.Live(refresh_per_second=4), {}
    display.start()

    def advance(step, scalars=None):
        known.update(scalars or {})
        width = display.console.width - 1
        said = line(step, total, left(step), known, width, not display.console.options.ascii_only)
        display.update(text.Text(said, no_wrap=True, overflow="crop"))

    return Progress(advance, display.stop)


def _estimate(total: int) -> Callable[[int], float | None]:
    """A function step -> seconds left; None at the first step, which includes compiling."""
    begin = []

    def left(step):
        if not begin:
            begin.extend((time.perf_counter(), step))
        done = step - begin[1]
        return (time.perf_counter() - begin[0]) / done * (total - step) if done else None

    return left


def line(
    step: int,
    total: int,
    seconds: float | None,
    scalars: dict,
    width: int | None = None,
    unicode: bool = True,
) -> str:
    """Step, bar and time left, then as many of loss, clips/s and "data-bound" as fit.

    Args:
      seconds: time left, None where it is not known yet.
      scalars: what is logged: "loss", "clips_per_second", "wait_share", "transfer_share".
      width: characters of the terminal; None for no bar and no limit.
    """
    counted = f"step {step}/{total}"
    clock = "-:-- left" if seconds is None else f"{metrics_writer.clock(seconds)} left"
    rest = summary(scalars)
    if width is None:
        return "  ".join([counted, clock, *rest])
    while rest and len("  ".join([counted, clock, *rest])) + 2 + BAR // 3 > width:
        rest.pop()
    room = width - len("  ".join([counted, clock, *rest])) - 2
    parts = [counted, clock, *rest]
    if room >= BAR // 3:
        size = min(BAR, room)
        full = size * step // max(1, total)
        done, open_ = "━─" if unicode else "=-"
        parts.insert(1, done * full + open_ * (size - full))
    return "  ".join(parts)[:width]


def summary(scalars: dict) -> list[str]:
    """The few metrics that one follows: loss, clips a second, and whether data hold the run up."""
    parts = []
    if "loss" in scalars:
        parts.append(f"loss {scalars['loss']:.4f}")
    if "clips_per_second" in scalars:
        parts.append(f"{scalars['clips_per_second']:.1f} clips/s")
    waiting = scalars.get("wait_share", 0) + scalars.get("transfer_share", 0)
    if waiting > DATA_BOUND:
        parts.append(f"data-bound {100 * waiting:.0f} %")
    return parts
