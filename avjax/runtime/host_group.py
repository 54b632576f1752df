"""The processes of a run stop together: after a signal to one of them, or when one dies.

Process 0 hears from all others over `peer_channel` and tells all what happens:

    stop     a signal came to one process
    at       where a process is: number of the points that it has passed, see `Group.point`
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
FLUSH_SECONDS = 1.0

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
        self._barriers = self._opened = 0
        self._changed = threading.Condition()

    def notify(self, number: int) -> None:
        """Says that this process received a signal."""
        self.tell({"stop": int(number)})

    def point(self) -> int | None:
        """Returns the signal at which all processes stop here; None to go on.

        All processes call this equally often, in the same places.
        """
        with self._changed:
            while self._frozen:
                self._changed.wait()
            self._points += 1
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
                points = self._points
            self.tell({"at": points})
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
        flushing = threading.Thread(target=sys.stdout.flush, daemon=True)
        flushing.start()
        flushing.join(FLUSH_SECONDS)  # The main thread may hold it.
        os.write(2, f"avjax: {line}\n".encode(errors="backslashreplace"))
        child_processes.kill()
        os._exit(status)


class Hub:
    """Process 0: hears from all processes and tells all.

    Args:
      channels: {process: (channel, host)} of the others.
      host: name of this machine.
    """

    def __init__(self, channels: Mapping[int, tuple[Channel, str]], host: str):
        self._channels = {process: channel for process, (channel, _) in channels.items()}
        self._names = {n: f"process {n} ({name})" for n, (_, name) in channels.items()}
        self._lock = threading.RLock()
        self._at: dict[int, int] = {}
        self._done: set[int] = set()
        self._reached: set[int] = set()
        self._waiting: dict[int, int] = {}  # The barrier of each process.
        self._stopping, self._agreed, self._over = None, False, False
        self._deadline = float("inf")
        self.all_done = threading.Event()
        self.group = Group(0, host, lambda message: self.hear(0, message))

    def start(self) -> None:
        """Starts the threads that listen to the other processes."""
        for process in self._channels:
            args = (process,)
            threading.Thread(target=self._listen, args=args, daemon=True).start()
        threading.Thread(target=self._tend, daemon=True).start()

    def hear(self, process: int, message: Mapping[str, Any]) -> None:
        """Takes a message of a process."""
        with self._lock:
            if "stop" in message and self._stopping is None:
                self._stopping = message["stop"]
                self._deadline = time.monotonic() + STOP_SECONDS
                self._tell_all({"stop": self._stopping})
            elif "at" in message:
                self._at[process] = message["at"]
                self._agree()
            elif "barrier" in message:
                self._waiting[process] = message["barrier"]
                if len(self._waiting) == len(self._channels) + 1:
                    self._tell_all({"open": min(self._waiting.values())})
            elif "reached" in message:
                self._reached.add(process)
            elif "done" in message:
                self._done.add(process)
                self._agree()
                if len(self._done) == len(self._channels) + 1:
                    self.all_done.set()
                    self._tell_all({"bye": True})
            elif "fault" in message and self.group.on_fault:
                self.group.on_fault(*message["fault"])
            elif "end" in message:
                self._end(message["end"])

    def _agree(self) -> None:
        """Says where all stop when all have said where they are."""
        known = len(self._at.keys() | self._done)
        if self._stopping is None or self._agreed or known <= len(self._channels):
            return
        self._agreed = True
        points = max(self._at.values(), default=0)
        if points <= 1 and not self._done:  # No step has ended: nothing would be lost.
            self._deadline = time.monotonic() + START_SECONDS
        self._tell_all({"stop_at": points + 1})

    def _tell_all(self, message: Mapping[str, Any]) -> None:
        """Sends a message to all, this process last: it may end by it."""
        for channel in self._channels.values():
            channel.send(dict(message))
        if "end" in message or "leave" in message:
            time.sleep(LINGER_SECONDS)  # The others read it before the connection breaks.
        self.group.receive(message)

    def _end(self, text: str) -> None:
        if not self._over:
            self._over = True
            self._tell_all({"end": text})

    def _listen(self, process: int) -> None:
        """Hears one process until its connection ends."""
        name = self._names[process]
        reason = _read(self._channels[process], lambda message: self.hear(process, message))
        with self._lock:
            if process not in self._done:
                self._end(f"{name} {reason}")

    def _tend(self) -> None:
        """Tells the others that this process lives, and ends all if they do not stop in time."""
        while not self.all_done.wait(BEAT_SECONDS):
            for channel in self._channels.values():
                channel.send({"beat": 1})
            with self._lock:
                late = time.monotonic() > self._deadline
                if late and len(self._reached | self._done) <= len(self._channels):
                    text = "asked to stop, but the work under way does not end"
                    self._tell_all({"leave": f"{text}: {ADVICE}"})


def follow(channel: Channel, process: int, host: str, leader: str) -> Group:
    """Returns the group of a process other than 0, and starts its threads.

    Args:
      channel: to process 0.
      process, host: of this process.
      leader: the host of process 0.
    """
    group = Group(process, host, channel.send)

    def listen() -> None:
        reason = _read(channel, group.receive)
        group.receive({"end": f"process 0 ({leader}) {reason}"})

    def beat() -> None:
        while channel.send({"beat": 1}) and not group.done:
            time.sleep(BEAT_SECONDS)

    for target in (listen, beat):
        threading.Thread(target=target, daemon=True).start()
    return group


def _read(channel: Channel, take: Callable[[dict], None]) -> str:
    """Hands all messages of a channel on until it ends; returns how the other process ended."""
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
