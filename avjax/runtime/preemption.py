"""Ctrl-C, SIGTERM and SIGUSR1 end the program with one line and an exit status of their own."""

import contextlib
import functools
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from avjax.runtime import distributed

SIGNALS: dict[int, str] = {
    signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGUSR1: "SIGUSR1",
}  # fmt: skip
PREEMPTED = 75  # Exit status: start the same command again.  EX_TEMPFAIL of sysexits.h.
EXIT_CODES: dict[int, int] = {
    signal.SIGINT: 128 + signal.SIGINT, signal.SIGTERM: PREEMPTED, signal.SIGUSR1: PREEMPTED,
}  # fmt: skip
ACKNOWLEDGE_SECONDS = 5.0  # A signal is acknowledged after so long if nothing has ended yet.
REPEAT_SECONDS = 0.1  # `timeout` sends a signal to its command and then to the whole group.
SHOW_CURSOR = "\x1b[?25h"


class Interrupted(SystemExit):
    """A signal requests the end of the program.

    code: the exit status.  name: of the signal.  reported: whether the line has been printed.
    """

    def __init__(self, number: int):
        super().__init__(EXIT_CODES[number])
        self.name, self.reported = SIGNALS[number], False

    def report(self, outcome: str) -> None:
        """Prints one line, once: what was saved and how to continue.

        Args:
          outcome: text of the line.
        """
        group = distributed.current()
        if not self.reported and (group is None or group.process == 0):
            print(f"avjax: stopped by {self.name}: {outcome}", file=sys.stderr, flush=True)
        self.reported = True


class Watch:
    """Yielded by `watch`: `defer` delays an interruption, `allow` permits it within `defer`.

    number: the signal that was received, None so far.  raised: whether Interrupted was raised.
    """

    def __init__(self):
        self._held, self.number, self.raised = False, None, False

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal: raises Interrupted at once, or at the end of `defer`.

        Only the first: the thread of `watch` ends the program at the second.  In a run of several
        processes nothing happens here, see `point`.

        Args:
          number: of the signal.
          frame: the interrupted frame, unused.
        """
        if self.number is None and distributed.current() is None:
            self.number = number
            if not self._held:
                self.check()

    def check(self) -> None:
        """Raises Interrupted if a signal was received."""
        if self.number is not None:
            self.raised = True
            raise Interrupted(self.number)

    def point(self, has_work: bool = False) -> None:
        """Raises Interrupted in all processes of a run at once, if one of them received a signal.

        All processes call this equally often, in the same places: before each step, and before
        each batch of an evaluation and of a refresh.  With one process it does nothing.

        Args:
          has_work: whether there is from now on something that an end without saving would lose.
        """
        group = distributed.current()
        if group and (number := group.point(has_work)) is not None:
            self.raised = True
            raise Interrupted(number)

    @contextlib.contextmanager
    def defer(self) -> Iterator[None]:
        """Delays an interruption to the end of the block, or to an inner `allow`."""
        with self._hold(True):
            yield
        self.check()

    @contextlib.contextmanager
    def allow(self) -> Iterator[None]:
        """Interrupts the block at once, also within `defer`."""
        with self._hold(False):
            self.check()
            yield

    @contextlib.contextmanager
    def _hold(self, held: bool) -> Iterator[None]:
        before, self._held = self._held, held
        try:
            yield
        finally:
            self._held = before


@contextlib.contextmanager
def watch(numbers: tuple[int, ...] = tuple(SIGNALS)) -> Iterator[Watch]:
    """In the block the first signal raises Interrupted, the second ends the process at once.

    The reaction to the first signal, such as saving a checkpoint, is not interrupted.  While the
    main thread compiles Python handles no signals: a thread acknowledges the first and obeys the
    second one, with exit status 128 + its number.  Outside the main thread this does nothing.

    Args:
      numbers: the signals; the handlers of others are unchanged.
    """
    watching = Watch()
    if threading.current_thread() is not threading.main_thread():
        yield watching
        return
    read_socket, write_socket = socket.socketpair()
    write_socket.setblocking(False)
    args = read_socket, watching, numbers
    thread = threading.Thread(target=_listen, args=args, daemon=True)
    thread.start()
    descriptor = signal.set_wakeup_fd(write_socket.fileno(), warn_on_full_buffer=False)
    handlers = {number: signal.signal(number, watching.receive) for number in numbers}
    try:
        yield watching
        watching.check()  # The interruption was lost, e.g. raised in a destructor.
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(descriptor)
        write_socket.close()
        thread.join()
        read_socket.close()


def _listen(line: socket.socket, watching: Watch, numbers: tuple[int, ...]) -> None:
    """Reads the numbers of signals; ends when the other end is closed."""
    first, received = None, 0.0
    while True:
        try:
            number = line.recv(1)
        except TimeoutError:
            line.settimeout(None)
            if not watching.raised:
                text = "ending after the current computation; a second signal ends at once"
                print(text, file=sys.stderr, flush=True)
            continue
        if not number:
            return
        if number[0] not in numbers:
            continue
        if first is None:
            first, received = number[0], time.monotonic()
            if group := distributed.current():
                group.notify(first)
        elif number[0] != first or time.monotonic() > received + REPEAT_SECONDS:
            if sys.stdout.isatty():
                os.write(sys.stdout.fileno(), SHOW_CURSOR.encode())
            os._exit(128 + number[0])
        line.settimeout(ACKNOWLEDGE_SECONDS)


def report_interruption(main: Callable, how_to_continue: str) -> Callable:
    """Wraps `main`: a signal ends it with one line.

    Args:
      main: a function.
      how_to_continue: text of that line unless `main` reported another one.
    """

    @functools.wraps(main)
    def guarded(*args, **options):
        with watch():
            try:
                return main(*args, **options)
            except Interrupted as stop:
                stop.report(how_to_continue)
                raise

    return guarded
