"""Training progress: a line that fits the terminal, or plain lines if there is no terminal."""

import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from avjax.runtime import metrics_writer

BAR_WIDTH = 24  # Characters of the bar, at most; at least a third of it.
DATA_BOUND_SHARE = 0.1  # From this share of time waiting for data on, it is shown.


class Progress(NamedTuple):
    """advance: (step, {name: scalar} or None) after each step; close: ()."""

    advance: Callable
    close: Callable


def progress(total: int, enabled: bool = True) -> Progress:
    """Returns the progress display of a run: one live line on a terminal, else a line per log.

    Args:
      total: number of steps.
      enabled: False in all processes of a run but one.
    """
    if not enabled:
        return Progress(lambda step, scalars=None: None, lambda: None)
    remaining = _time_left_fn(total)
    if not sys.stdout.isatty():

        def advance(step, scalars=None):
            seconds = remaining(step)
            if scalars is not None:
                print(format_line(step, total, seconds, scalars), flush=True)

        return Progress(advance, lambda: None)
    from rich import live, text

    display, known = live.Live(refresh_per_second=4), {}
    display.start()

    def advance(step, scalars=None):
        known.update(scalars or {})
        width = display.console.width - 1
        message = format_line(
            step, total, remaining(step), known, width, not display.console.options.ascii_only
        )
        display.update(text.Text(message, no_wrap=True, overflow="crop"))

    return Progress(advance, display.stop)


def _time_left_fn(total: int) -> Callable[[int], float | None]:
    """Returns a function step -> seconds left; None at the first step, which includes compiling."""
    start_time = []

    def left(step):
        if not start_time:
            start_time.extend((time.perf_counter(), step))
        done = step - start_time[1]
        return (time.perf_counter() - start_time[0]) / done * (total - step) if done else None

    return left


def format_line(
    step: int,
    total: int,
    seconds: float | None,
    scalars: dict,
    width: int | None = None,
    unicode: bool = True,
) -> str:
    """Formats step, bar and time left, then as many of loss, clips/s and "data-bound" as fit.

    Args:
      step, total: steps done and in all.
      seconds: time left, None if not known yet.
      scalars: logged metrics: "loss", "clips_per_second", "time/data_wait", "time/transfer".
      width: characters of the terminal; None for no bar and no limit.
      unicode: whether the terminal shows box-drawing characters.
    """
    counted = f"step {step}/{total}"
    clock = "-:-- left" if seconds is None else f"{metrics_writer.format_duration(seconds)} left"
    rest = summary_parts(scalars)
    if width is None:
        return "  ".join([counted, clock, *rest])
    while rest and len("  ".join([counted, clock, *rest])) + 2 + BAR_WIDTH // 3 > width:
        rest.pop()
    bar_space = width - len("  ".join([counted, clock, *rest])) - 2
    parts = [counted, clock, *rest]
    if bar_space >= BAR_WIDTH // 3:
        size = min(BAR_WIDTH, bar_space)
        full = size * step // max(1, total)
        done, open_ = "━─" if unicode else "=-"
        parts.insert(1, done * full + open_ * (size - full))
    return "  ".join(parts)[:width]


def summary_parts(scalars: dict) -> list[str]:
    """Returns loss, clips per second, and whether data are the bottleneck, as texts."""
    parts = []
    if "loss" in scalars:
        parts.append(f"loss {scalars['loss']:.4f}")
    if "clips_per_second" in scalars:
        parts.append(f"{scalars['clips_per_second']:.1f} clips/s")
    waiting = scalars.get("time/data_wait", 0) + scalars.get("time/transfer", 0)
    if waiting > DATA_BOUND_SHARE:
        parts.append(f"data-bound {100 * waiting:.0f} %")
    return parts
