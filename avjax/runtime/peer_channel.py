"""Connections between the processes of a run: lines of JSON over TCP, all to process 0.

JAX's own service ends a process without saying which other one died, and tells it late.
"""

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from avjax.runtime import cluster

MAX_BYTES = 1 << 24  # Of a message; a config is the longest.
POLL_SECONDS = 1.0
CONNECT_SECONDS = 5.0  # Of one attempt.
RETRY_SECONDS = 0.2
NOTICE_SECONDS = 10.0  # After so long a line says what is waited for.
HELLO_SECONDS = 10.0  # A connection that says nothing is none of the run.


class Channel:
    """A connection to one other process."""

    def __init__(self, connection: socket.socket):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(POLL_SECONDS)
        self._socket, self._lock, self._read = connection, threading.Lock(), b""

    def send(self, message: dict[str, Any]) -> bool:
        """Sends a message; returns False if the connection is gone."""
        try:
            with self._lock:
                self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return False
        return True

    def receive(self, timeout: float) -> dict[str, Any] | None:
        """Returns the next message; None if the other end has closed.

        Args:
          timeout: in seconds; time in which this process itself is stopped does not count.

        Raises:
          TimeoutError: nothing came.
          ValueError: what came is no message.
        """
        silent = 0.0
        while b"\n" not in self._read:
            begin = time.monotonic()
            try:
                part = self._socket.recv(1 << 16)
            except TimeoutError:
                silent += min(time.monotonic() - begin, 2 * POLL_SECONDS)
                if silent > timeout:
                    raise
                continue
            except OSError:
                return None
            self._read += part
            if not part or len(self._read) > MAX_BYTES:
                return None
        line, _, self._read = self._read.partition(b"\n")
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError("not a message")
        return message

    def close(self) -> None:
        """Closes the connection."""
        self._socket.close()


def listen(port: int) -> socket.socket:
    """Returns a socket that accepts connections to a port of this machine.

    Raises:
      ValueError: the port is in use.
    """
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=dual, backlog=1024)
    except OSError as error:
        raise ValueError(
            f"port {port} of {cluster.hostname()} cannot be used ({error.strerror}): another "
            "run may use it; give another one in --coordinator (or AVJAX_COORDINATOR)"
        ) from error


def connect(address: str, timeout: float) -> Channel:
    """Returns a channel to process 0, for which it waits.

    Args:
      address: "HOST:PORT" of process 0.
      timeout: in seconds.

    Raises:
      ValueError: process 0 does not answer; the message says what was tried.
    """
    host, port = cluster.split_address(address)
    begin, noticed = time.monotonic(), False
    while True:
        try:
            return Channel(socket.create_connection((host, port), CONNECT_SECONDS))
        except OSError as error:
            reason = error.strerror or str(error)
        passed = time.monotonic() - begin
        if passed > timeout:
            raise ValueError(
                f"process 0 does not answer at {address} ({reason}) after {passed:.0f} s: start "
                "it, check the address (--coordinator or AVJAX_COORDINATOR), and let this machine "
                "reach that port"
            )
        if passed > NOTICE_SECONDS and not noticed:
            noticed = True
            print(f"waiting for process 0 at {address} ({reason})", flush=True)
        time.sleep(RETRY_SECONDS)


def accept(
    server: socket.socket, address: str, count: int, timeout: float
) -> dict[int, tuple[Channel, dict]]:
    """Returns {process: (channel, its first message)} of all processes but 0.

    Args:
      server: as `listen` returns it.
      address: for messages.
      count: number of processes.
      timeout: in seconds.

    Raises:
      ValueError: some do not come, or two have the same number; the others get the error.
    """
    found: dict[int, tuple[Channel, dict]] = {}
    begin, noticed, problem = time.monotonic(), False, ""
    for channel, hello in _hellos(server):
        if hello:
            assert channel is not None
            number: int = hello["process"]
            if not 0 <= number < count:
                problem = (
                    f"--process_id={number} on {hello['host']}: number the processes from 0 to "
                    f"{count - 1}, as --process_count is {count} for process 0"
                )
            elif number in found or number == 0:
                hosts = found[number][1]["host"] if number else cluster.hostname()
                problem = (
                    f"two processes have --process_id={number}, on {hosts} and {hello['host']}: "
                    f"number them from 0 to {count - 1}"
                )
            found[number if not problem else -1] = channel, hello
        if len(found) == count - 1 and not problem:
            return found
        missing = ", ".join(str(n) for n in range(1, count) if n not in found)
        passed = time.monotonic() - begin
        if passed > timeout:
            problem = (
                f"after {passed:.0f} s processes {missing} of {count} have not come to {address}: "
                "start them, or give the number that there is (--process_count)"
            )
        if problem:
            for other, _ in found.values():
                other.send({"refuse": problem})
            raise ValueError(problem)
        if passed > NOTICE_SECONDS and not noticed:
            noticed = True
            print(f"waiting for processes {missing} of {count} at {address}", flush=True)
    raise AssertionError("the socket was closed")


def _hellos(server: socket.socket) -> Iterator[tuple[Channel | None, dict | None]]:
    """Yields (channel, first message) of each process that comes, and (None, None) at times."""
    server.settimeout(RETRY_SECONDS)
    while True:
        try:
            connection, _ = server.accept()
        except TimeoutError:
            yield None, None
            continue
        channel = Channel(connection)
        try:
            hello = channel.receive(HELLO_SECONDS)
        except (TimeoutError, ValueError):
            hello = None
        if hello and isinstance(hello.get("process"), int) and "host" in hello:
            yield channel, hello
        else:  # Something else on the network.
            channel.close()
