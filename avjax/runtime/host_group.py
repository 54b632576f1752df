"""The processes of a run stop together: after a signal to one of them, or when one dies.

Process 0 hears from all others over `peer_channel` and tells all what happens:

    stop     a signal came to one process
    at       where a process is: number of the points that it has passed, see `Group.point`, and
             whether it would lose work
    stop_at  all stop at this point
    reached  a process has stopped there
    leave    that did not happen in time: all end at once
    end      a process died, hangs or failed: all end at once
    done     a process has done its work
    bye      all have: they may end
    barrier  a process waits at its n-th barrier; "open": all do
    fault    a file that a process could not read, for the list of process 0
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from avjax.runtime import child_processes
from avjax.runtime.peer_channel import Channel

PEER_LOST = 87  # Exit status: another process died, hangs or failed.
LEFT = 75  # Exit status of a process that was asked to stop, see `preemption`.
BEAT_SECONDS = 2.0
PEER_SECONDS = 20.0  # A process that says nothing for so long hangs.
START_SECONDS = 20.0  # From a signal to the end of a process that has nothing to save yet.
STOP_SECONDS = 90.0  # From a signal to the point where all stop.
VERDICT_SECONDS = 5.0  # A broken connection of JAX may come before the news of the death.
LINGER_SECONDS = 0.3
FLUSH_SECONDS = 0.1

ADVICE = "re-run the command to resume from the latest checkpoint"


class Group:
    """This process among those of its run.

    Args:
      process: number of this process.
      host: name of its machine.
      tell: sends a message to process 0.
    """

    def __init__(self, process: int, host: str, tell: Callable[[dict], object]):
        self.process, self.name = process, f"process {process} ({host})"
        self.tell = tell
        self.number: int | None = None  # Of the signal.
        self.done = False  # Nothing that happens to other processes matters any more.
        self.released = threading.Event()
        self.on_fault: Callable[[str, str], None] | None = None  # Of process 0.
        self._points, self._stop_at, self._frozen = 0, None, False
        self._has_work = False
        self._barriers = self._opened = 0
        self._changed = threading.Condition()

    def notify(self, number: int) -> None:
        """Says that this process received a signal."""
        self.tell({"stop": int(number)})

    def point(self, has_work: bool = False) -> int | None:
        """Returns the signal at which all processes stop here; None to go on.

        All processes call this equally often, in the same places.

        Args:
          has_work: whether there is from now on something that an end without saving would lose.
        """
        with self._changed:
            while self._frozen:
                self._changed.wait()
            self._points += 1
            self._has_work |= has_work
            if self._stop_at is None or self._points < self._stop_at:
                return None
        self.tell({"reached": True})
        return self.number

    def barrier(self) -> None:
        """Waits until all processes have called this equally often, however long that takes."""
        self._barriers += 1
        self.tell({"barrier": self._barriers})
        with self._changed:
            while self._opened < self._barriers:
                self._changed.wait()

    def receive(self, message: Mapping[str, Any]) -> None:
        """Does what process 0 says."""
        if "stop" in message and self.number is None:
            with self._changed:
                self.number, self._frozen = message["stop"], True
                where = {"at": self._points, "work": self._has_work}
            self.tell(where)
        elif "stop_at" in message:
            with self._changed:
                self._stop_at, self._frozen = message["stop_at"], False
                self._changed.notify_all()
        elif "open" in message:
            with self._changed:
                self._opened = message["open"]
                self._changed.notify_all()
        elif "bye" in message:
            self.done = True
            self.released.set()
        elif "leave" in message and not self.done:
            self.exit(message["leave"], LEFT)
        elif "end" in message and not self.done:
            self.exit(f"{message['end']}; {self.name} ends too: {ADVICE}", PEER_LOST)

    def leave(self) -> None:
        """Says that this process has done its work, and waits for the others."""
        self.tell({"done": True})
        self.released.wait()

    def exit(self, line: str, status: int) -> NoReturn:
        """Ends this process at once, and those that it started, with a line."""
        # At once: when process 0 has died JAX aborts this process half a second later.
        os.write(2, f"avjax: {line}\n".encode(errors="backslashreplace"))
        flushing = threading.Thread(target=sys.stdout.flush, daemon=True)
        flushing.start()
        flushing.join(FLUSH_SECONDS)  # The main thread may hold it.
        child_processes.kill()
        os._exit(status)


def follow(channel: Channel, process: int, host: str, leader: str) -> Group:
    """Returns the group of a process other than 0, and starts its threads.

    Args:
      channel: to process 0.
      process, host: of this process.
      leader: the host of process 0.
    """
    group = Group(process, host, channel.send)

    def listen() -> None:
        reason = read(channel, group.receive)
        group.receive({"end": f"process 0 ({leader}) {reason}"})

    def beat() -> None:
        while channel.send({"beat": 1}) and not group.done:
            time.sleep(BEAT_SECONDS)

    for target in (listen, beat):
        threading.Thread(target=target, daemon=True).start()
    return group


def read(channel: Channel, take: Callable[[dict], None]) -> str:
    """Hands all messages of a channel on until it ends; returns how the other process ended.

    Args:
      channel: to another process.
      take: called with each message.
    """
    while True:
        try:
            message = channel.receive(PEER_SECONDS)
        except TimeoutError:
            return f"says nothing for {PEER_SECONDS:g} s: it hangs or cannot be reached"
        except ValueError:
            continue
        if message is None:
            return "died"
        take(message)
