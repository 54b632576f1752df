"""How far a long preparation is, on the terminal."""

import sys
import time


def progress(items, total, title):
    """Passes `items` on and shows how far it is: a bar on a terminal, else a line now and then."""
    if sys.stderr.isatty():
        from rich import console, progress as bars

        yield from bars.track(
            items, title, total=total, console=console.Console(stderr=True), transient=True
        )
        return
    said = time.monotonic()
    print(f"{title}: 0/{total}", file=sys.stderr, flush=True)
    for k, item in enumerate(items, 1):
        yield item
        if time.monotonic() - said > 10 or k == total:
            said = time.monotonic()
            print(f"{title}: {k}/{total}", file=sys.stderr, flush=True)
