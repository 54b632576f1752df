"""Progress of a long operation on the terminal."""

import sys
import time
from collections.abc import Iterable, Iterator

TITLE_WIDTH, BAR_WIDTH = (
    28,
    20,
)  # Characters: with counts and the time left, a line fits 80 columns.


def progress(items: Iterable, total: int, title: str) -> Iterator:
    """Yields `items` and shows progress: a bar on a terminal, else a line every 10 seconds.

    Args:
      items: an iterable.
      total: their number.
      title: text in front of the bar.
    """
    if sys.stderr.isatty():
        yield from _bar(items, total, title)
        return
    last_print = time.monotonic()
    print(f"{title}: 0/{total}", file=sys.stderr, flush=True)
    for k, item in enumerate(items, 1):
        yield item
        if time.monotonic() - last_print > 10 or k == total:
            last_print = time.monotonic()
            print(f"{title}: {k}/{total}", file=sys.stderr, flush=True)


def _bar(items, total, title):
    from rich import console, progress as rich

    columns = (
        rich.TextColumn("{task.description}", markup=False),
        rich.MofNCompleteColumn(),
        rich.BarColumn(BAR_WIDTH),
        rich.TimeRemainingColumn(compact=True),
        rich.TextColumn("left"),
    )
    with rich.Progress(*columns, console=console.Console(stderr=True), transient=True) as shown:
        task = shown.add_task(title[:TITLE_WIDTH], total=total)
        for item in items:
            yield item
            shown.advance(task)
