"""Worker processes that may be killed without changing a result.

`function(number, blocked, heartbeat)` calls `heartbeat(key)` before it works on a key, and leaves
out the keys in `blocked`.  Its process may be killed, hang or run out of memory at any time:
another process repeats the number, so that the results are those of the function alone.  A key at
which this happens repeatedly is blocked, {key: reason}.
"""

import collections
import contextlib
import os
import queue
import signal
import socket
import subprocess  # noqa: S404
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from avjax.data.workers import forkserver, pickling, protocol

MAX_DEATHS = 3  # Deaths at one key after which it is blocked.
# Signals from outside (e.g. the out-of-memory killer): they say little about the record.
EXTERNAL_SIGNALS, MAX_EXTERNAL_KILLS = (-signal.SIGKILL, -signal.SIGTERM), 20
TIMEOUT = 5.0
MEMORY_LIMIT = 2**30
START_TIMEOUT = 60.0  # Seconds that a process may take to start.
SHUTDOWN_TIMEOUT = 5.0  # Seconds to end by itself.
SOCKET_BUFFER_BYTES = 2**20  # A clip and more.
# Else each worker's linear algebra takes threads, and memory for each, as if it were alone.
LIBRARIES = ("OMP", "OPENBLAS", "MKL")
SINGLE_THREAD_ENV = {f"{library}_NUM_THREADS": "1" for library in LIBRARIES}


class _ForkServer(NamedTuple):
    process: subprocess.Popen
    control: socket.socket


class _Worker(NamedTuple):
    pid: int
    connection: socket.socket
    forkserver: _ForkServer


class _Pool(NamedTuple):
    payload: list  # For a new fork server, packed.
    timeout: float
    memory_limit: int
    blocked: dict
    idle: queue.SimpleQueue  # `count` of them: a _Worker, or None if it must be started.
    forkservers: list  # One, or none if it must be started.
    lock: threading.Lock  # Held to talk to the fork server.
    closed: threading.Event


@contextlib.contextmanager
def pool(
    function: Callable, count: int, timeout: float = TIMEOUT, memory_limit: int = MEMORY_LIMIT
) -> Iterator[Callable[[int], Any]]:
    """Yields call(number) -> function(number, ...) in one of `count` processes.

    Any number of threads may call.  An exception of the function is raised by `call`, with the
    worker's traceback as a note.

    Args:
      function: as above; it is pickled.
      count: number of processes.
      timeout: seconds from one heartbeat of a worker to the next; twice as many at the second
        attempt and four times at the third.
      memory_limit: bytes that a worker may use beyond what it starts with (Linux only).

    Raises:
      ValueError: an argument is not positive, or the function cannot be pickled.
    """
    if timeout <= 0 or memory_limit <= 0 or count < 1:
        raise ValueError(
            f"{count} workers, timeout {timeout}, memory_limit {memory_limit}: use more than 0"
        )
    payload, idle = pickling.dump((function, memory_limit)), queue.SimpleQueue()
    lock, closed = threading.Lock(), threading.Event()
    state = _Pool(payload, timeout, memory_limit, {}, idle, [], lock, closed)
    for _ in range(count):
        state.idle.put(None)
    try:
        yield lambda number: _run(state, number)
    finally:
        _close(state, count)


def _run(state, number):
    worker = state.idle.get()
    try:
        worker, kind, value = _run_with_retries(state, worker, number)
    except BaseException:
        state.idle.put(None)
        raise
    state.idle.put(worker)
    if kind == "error":
        raise protocol.load_exception(value)
    return value


def _run_with_retries(state, worker, number):
    """(a worker, "done", result) or (a worker, "error", exception), after any attempts."""
    deaths = collections.Counter()  # (key or, before the first, None; from outside) -> how many.
    while True:
        if state.closed.is_set():
            if worker:
                worker.connection.close()
            raise RuntimeError("the pool of workers is closed")
        worker = worker or _start_worker(state)
        key, kind, value = _run_once(state, worker, number, deaths)
        if kind in ("done", "error"):
            return worker, kind, value
        exit_status, worker = _kill_worker(state, worker), None
        if state.closed.is_set():
            continue
        limit = state.timeout * 2 ** deaths[key, False]
        late = f"decoding took more than {limit:g} s"
        reason = late if kind == "timeout" else _death_reason(state, exit_status)
        is_external = kind == "dead" and exit_status in EXTERNAL_SIGNALS
        deaths[key, is_external] += 1
        if deaths[key, is_external] == (MAX_EXTERNAL_KILLS if is_external else MAX_DEATHS):
            if key is None:
                raise RuntimeError(f"number {number}, tried again and again: {reason}")
            state.blocked[key] = reason


def _run_once(state, worker, number, deaths):
    """(the last heartbeat's key, "done", "error", "timeout" or "dead", its value)."""
    key = None
    try:
        worker.connection.settimeout(state.timeout * 2 ** deaths[key, False])
        protocol.write(worker.connection, protocol.pack((number, dict(state.blocked))))
        while True:
            kind, value = protocol.read(worker.connection)
            if kind != "heartbeat":
                return key, kind, value
            key = value
            worker.connection.settimeout(state.timeout * 2 ** deaths[key, False])
    except TimeoutError:
        return key, "timeout", None
    except (EOFError, ConnectionError, ValueError):  # Gone, or no longer itself.
        return key, "dead", None
    except BaseException:  # Ctrl-C, say: what this worker says next would answer another question.
        _kill_worker(state, worker)
        raise


def _death_reason(state, exit_status):
    if exit_status == forkserver.OUT_OF_MEMORY:
        return f"needs more than {state.memory_limit / 2**30:.1f} GiB"
    how = f"signal {-exit_status}" if exit_status < 0 else f"exit status {exit_status}"
    return f"worker died ({how})"


def _start_worker(state):
    """Starts a worker.  A fork server that has died is replaced."""
    for _ in range(MAX_DEATHS):
        parent_end, child_end = socket.socketpair()
        with child_end:
            for end in (parent_end, child_end):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
            with state.lock:
                if not state.forkservers and not state.closed.is_set():
                    state.forkservers.extend(_start_forkserver(state.payload))
                pid = _request(state, 0, [child_end.fileno()])
                if pid:
                    return _Worker(pid, parent_end, state.forkservers[0])
        parent_end.close()
        if state.closed.is_set():
            raise RuntimeError("the pool of workers is closed")
    raise RuntimeError("worker processes do not start: use workers=0 (threads)")


def _kill_worker(state, worker):
    """Kills a worker, if it is not dead; returns its exit status."""
    worker.connection.close()
    with state.lock:
        if worker.forkserver in state.forkservers:  # Else it has died with its fork server.
            exit_status = _request(state, worker.pid, [])
            return -signal.SIGKILL if exit_status is None else exit_status
    return -signal.SIGKILL


def _request(state, pid, descriptors):
    """The fork server's answer, see forkserver.main; None if it has died.  Requires the lock."""
    if not state.forkservers:
        return None
    control = state.forkservers[0].control
    try:
        socket.send_fds(control, [protocol.INT64.pack(pid)], descriptors)
        return protocol.INT64.unpack(protocol.recv_exact(control, protocol.INT64.size).data)[0]
    except (EOFError, OSError):
        _stop_forkserver(state.forkservers.pop())
        return None


def _start_forkserver(payload):
    """[a new fork server], or [] if it died; it imports only what the function needs."""
    parent_end, child_end = socket.socketpair()
    with child_end:
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            f"from avjax.data.workers import forkserver; forkserver.main({child_end.fileno()})"
        )
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", code],
            pass_fds=[child_end.fileno()],
            stdin=subprocess.DEVNULL,
            env=os.environ | SINGLE_THREAD_ENV,
        )
    parent_end.settimeout(START_TIMEOUT)
    server = _ForkServer(process, parent_end)
    try:
        protocol.write(parent_end, payload)
        error = protocol.read(parent_end)
    except (EOFError, OSError):
        _stop_forkserver(server)
        return []
    if error:
        _stop_forkserver(server)
        raise protocol.load_exception(error)
    return [server]


def _stop_forkserver(server):
    """Ends a fork server and its workers."""
    server.control.close()
    try:
        server.process.wait(SHUTDOWN_TIMEOUT)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()


def _close(state, count):
    """Ends all processes and waits for the calls in progress, which raise."""
    state.closed.set()
    with state.lock:
        while state.forkservers:
            _stop_forkserver(state.forkservers.pop())
    with contextlib.suppress(queue.Empty):
        for _ in range(count):
            worker = state.idle.get(timeout=SHUTDOWN_TIMEOUT)
            if worker:
                worker.connection.close()
    for _ in range(count):
        state.idle.put(None)  # For those who wait for a worker: they raise in their turn.
