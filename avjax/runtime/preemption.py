"""Ctrl-C and SIGTERM: the program ends in one line, with exit status 130 or 143."""

import contextlib
import functools
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator

SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
PATIENCE = 5.0  # Seconds after which a signal is acknowledged although nothing has ended yet.
SHOW_CURSOR = "\x1b[?25h"


class Interrupted(SystemExit):
    """A signal asks the program to end; `code` is the exit status, `name` the signal's.

    reported: whether the line that tells the user has been printed.
    """

    def __init__(self, number: int):
        super().__init__(128 + number)
        self.name, self.reported = SIGNALS[number], False

    def report(self, outcome: str) -> None:
        """Prints the one line of an interrupted program: what was saved, how to continue."""
        if not self.reported:
            print(f"avjax: stopped by {self.name}: {outcome}", file=sys.stderr, flush=True)
        self.reported = True


class Watch:
    """What `watch` gives: `defer` holds an interruption back to the end of a block."""

    def __init__(self):
        self._held, self._pending, self.raised = False, None, False

    def receive(self, number: int, frame) -> None:
        """The signal handler: raises Interrupted, at once or where `defer` ends."""
        self._pending = self._pending or number
        if not self._held:
            self.check()

    def check(self) -> None:
        """Raises Interrupted if a signal has come."""
        if self._pending:
            number, self._pending, self._held, self.raised = self._pending, None, True, True
            raise Interrupted(number)

    @contextlib.contextmanager
    def defer(self) -> Iterator[None]:
        """A block that a signal does not interrupt: Interrupted is raised when it ends."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        self.check()


@contextlib.contextmanager
def watch(numbers=tuple(SIGNALS)) -> Iterator[Watch]:
    """Within the block the first Ctrl-C or SIGTERM raises Interrupted, the second exits at once.

    What follows the first signal, such as saving a checkpoint, is not interrupted by others.
    A thread answers while the main thread compiles, where Python handles no signal: it says so,
    and obeys the second one.  Outside of the main thread nothing is watched.

    Args:
      numbers: the signals; others keep their handlers.
    """
    watching = Watch()
    if threading.current_thread() is not threading.main_thread():
        yield watching
        return
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    thread = threading.Thread(target=_listen, args=(ours, watching), daemon=True)
    thread.start()
    descriptor = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, watching.receive) for number in numbers}
    try:
        yield watching
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(descriptor)
        theirs.close()
        thread.join()
        ours.close()


def _listen(line: socket.socket, watching: Watch) -> None:
    """Reads the numbers of signals as they come; ends when the other end is closed."""
    seen = 0
    while True:
        try:
            number = line.recv(1)
        except TimeoutError:
            line.settimeout(None)
            if not watching.raised:
                text = "ending when the running computation does; a second signal ends at once"
                print(text, file=sys.stderr, flush=True)
            continue
        if not number:
            return
        if number[0] not in SIGNALS:
            continue
        seen += 1
        if seen == 2:
            if sys.stdout.isatty():
                os.write(sys.stdout.fileno(), SHOW_CURSOR.encode())
            os._exit(128 + number[0])
        line.settimeout(PATIENCE)


def in_one_line(main: Callable, remedy: str) -> Callable:
    """`main`, which a signal ends in one line; `remedy` is what it says, unless more was known.

    Args:
      remedy: how to continue, e.g. "the same command resumes".
    """

    @functools.wraps(main)
    def guarded(*args, **options):
        with watch():
            try:
                return main(*args, **options)
            except Interrupted as stop:
                stop.report(remedy)
                raise

    return guarded
