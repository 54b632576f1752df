"""Process 0 of a run: hears from all processes and tells all, see `host_group`."""

import threading
import time
from collections.abc import Mapping
from typing import Any

from avjax.runtime import host_group
from avjax.runtime.peer_channel import Channel


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
        self._has_work = False
        self._deadline = float("inf")
        self.all_done = threading.Event()
        self.group = host_group.Group(0, host, lambda message: self.hear(0, message))

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
                self._deadline = time.monotonic() + host_group.STOP_SECONDS
                self._tell_all({"stop": self._stopping})
            elif "at" in message:
                self._at[process] = message["at"]
                self._has_work |= message["work"]
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
        if not self._has_work:
            self._deadline = time.monotonic() + host_group.START_SECONDS
        self._tell_all({"stop_at": points + 1})

    def _tell_all(self, message: Mapping[str, Any]) -> None:
        """Sends a message to all, this process last: it may end by it."""
        for channel in self._channels.values():
            channel.send(dict(message))
        if "end" in message or "leave" in message:
            time.sleep(host_group.LINGER_SECONDS)  # The others read it first.
        self.group.receive(message)

    def _end(self, text: str) -> None:
        if not self._over:
            self._over = True
            self._tell_all({"end": text})

    def _listen(self, process: int) -> None:
        """Hears one process until its connection ends."""
        name = self._names[process]
        reason = host_group.read(
            self._channels[process], lambda message: self.hear(process, message)
        )
        with self._lock:
            if process not in self._done:
                self._end(f"{name} {reason}")

    def _tend(self) -> None:
        """Tells the others that this process lives, and ends all if they do not stop in time."""
        while not self.all_done.wait(host_group.BEAT_SECONDS):
            for channel in self._channels.values():
                channel.send({"beat": 1})
            with self._lock:
                late = time.monotonic() > self._deadline
                if late and len(self._reached | self._done) <= len(self._channels):
                    text = "asked to stop, but the work under way does not end"
                    self._tell_all({"leave": f"{text}: {host_group.ADVICE}"})
