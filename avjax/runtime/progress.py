"""How far a long preparation is, on the terminal."""

import sys
import time

TITLE, BAR = 28, 20  # Characters: with counts and the time left, a line fits 80 columns.


def progress(items, total, title):
    """Passes `items` on and shows how far it is: a bar on a terminal, else a line now and then."""
    if sys.stderr.isatty():
        yield from _bar(items, total, title)
        return
    said = time.monotonic()
    print(f"{title}: 0/{total}", file=sys.stderr, flush=True)
    for k, item in enumerate(items, 1):
        yield item
        if time.monotonic() - said > 10 or k == total:
            said = time.monotonic()
            print(f"{title}: {k}/{total}", file=sys.stderr, flush=True)


def _bar(items, total, title):
    from rich import console, progress as rich

    columns = (
        rich.TextColumn("{task.description}", markup=False),
        rich.MofNCompleteColumn(),
        rich.BarColumn(BAR),
        rich.TimeRemainingColumn(compact=True),
        rich.TextColumn("left"),
    )
    with rich.Progress(*columns, console=console.Console(stderr=True), transient=True) as shown:
        task = shown.add_task(title[:TITLE], total=total)
        for item in items:
            yield item
            shown.advance(task)
