"""Processes that call a function of a number, and may be killed without changing a result.

`function(number, barred, announce)` says with `announce(key)` what it is about to work on, and
leaves out the keys in `barred`.  Its process may be killed, hang or run out of memory at any
time: the number is done again by another process, so that the results are those of the function
alone.  Only a key at which this happens again and again is barred, {key: reason}.
"""

import collections
import contextlib
import os
import pickle  # noqa: S403 (for the name of its error)
import queue
import signal
import socket
import subprocess  # noqa: S404
import sys
import threading
from typing import NamedTuple

import cloudpickle

from avjax.data.workers import forkserver, protocol

ATTEMPTS = 3  # Deaths at one key after which it is barred.
# Killed by these a process has been from outside: that says little of what it was at.
OUTSIDE, KILLS = (-signal.SIGKILL, -signal.SIGTERM), 20
DEADLINE = 5.0
MEMORY = 2**30
START = 60.0  # Seconds that a process may take to start.
GRACE = 5.0  # Seconds to end by itself.
BUFFER = 2**20  # Bytes on their way: a clip and more.
# Else each worker's linear algebra takes threads, and memory for each, as if it were alone.
ONE_CORE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class _Nursery(NamedTuple):
    process: subprocess.Popen
    control: socket.socket


class _Worker(NamedTuple):
    pid: int
    line: socket.socket
    nursery: _Nursery


class _Pool(NamedTuple):
    parts: list  # What a nursery is told when it starts, packed.
    deadline: float
    memory: int
    barred: dict
    idle: queue.SimpleQueue  # `count` of them: a _Worker, or None where one is to be started.
    nurseries: list  # One, or none where it is to be started.
    lock: threading.Lock  # Held to talk to the nursery.
    closed: threading.Event


@contextlib.contextmanager
def pool(function, count, deadline=DEADLINE, memory=MEMORY):
    """Yields call(number) -> what `function` gives for it in one of `count` processes.

    Any number of threads may call.  An exception of the function is raised by `call`, with
    the worker's traceback for a note.

    deadline: seconds that a worker may take from one announcement to the next; twice as many
      at the second attempt and four times at the third.
    memory: bytes that a worker may take beyond what it starts with (Linux only).
    """
    if deadline <= 0 or memory <= 0 or count < 1:
        raise ValueError(f"{count} workers, deadline {deadline}, memory {memory}: use more than 0")
    parts = _packed((function, memory))
    state = _Pool(
        parts, deadline, memory, {}, queue.SimpleQueue(), [], threading.Lock(), threading.Event()
    )
    for _ in range(count):
        state.idle.put(None)

    try:
        yield lambda number: _call(state, number)
    finally:
        _close(state, count)


def _packed(function):
    if not hasattr(os, "fork"):
        raise ValueError("this system has no fork for worker processes: use workers=0 (threads)")
    try:
        data = cloudpickle.dumps(function, protocol=5)
        return [protocol.NUMBER.pack(len(data)), data]
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"what worker processes are to do cannot be sent to them: {error}; use workers=0 "
            "(threads), or keep locks, open files and the like out of transforms, view and source"
        ) from error


def _call(state, number):
    worker = state.idle.get()
    try:
        worker, kind, value = _answered(state, worker, number)
    except BaseException:
        state.idle.put(None)
        raise
    state.idle.put(worker)
    if kind == "raised":
        raise protocol.raised(value)
    return value


def _answered(state, worker, number):
    """(a worker, "done", result) or (a worker, "raised", exception), after any attempts."""
    deaths = collections.Counter()  # (key or, before the first, None; from outside) -> how many.
    while True:
        if state.closed.is_set():
            if worker:
                worker.line.close()
            raise RuntimeError("the pool of workers is closed")
        worker = worker or _start(state)
        key, kind, value = _ask(state, worker, number, deaths)
        if kind in ("done", "raised"):
            return worker, kind, value
        status, worker = _end(state, worker), None
        if state.closed.is_set():
            continue
        limit = state.deadline * 2 ** deaths[key, False]
        reason = f"decoding took more than {limit:g} s" if kind == "late" else _died(state, status)
        outside = kind == "dead" and status in OUTSIDE
        deaths[key, outside] += 1
        if deaths[key, outside] == (KILLS if outside else ATTEMPTS):
            if key is None:
                raise RuntimeError(f"number {number}, tried again and again: {reason}")
            state.barred[key] = reason


def _ask(state, worker, number, deaths):
    """(the key last announced, what came: "done", "raised", "late" or "dead", its value)."""
    key = None
    try:
        worker.line.settimeout(state.deadline * 2 ** deaths[key, False])
        protocol.write(worker.line, protocol.pack((number, dict(state.barred))))
        while True:
            kind, value = protocol.read(worker.line)
            if kind != "at":
                return key, kind, value
            key = value
            worker.line.settimeout(state.deadline * 2 ** deaths[key, False])
    except TimeoutError:
        return key, "late", None
    except (EOFError, ConnectionError, ValueError):  # Gone, or no longer itself.
        return key, "dead", None
    except BaseException:  # Ctrl-C, say: what this worker says next would answer another question.
        _end(state, worker)
        raise


def _died(state, status):
    if status == forkserver.OUT_OF_MEMORY:
        return f"needs more than {state.memory / 2**30:.1f} GiB"
    return f"worker died ({f'signal {-status}' if status < 0 else f'exit status {status}'})"


def _start(state):
    """A new worker.  A nursery that has died is replaced."""
    for _ in range(ATTEMPTS):
        ours, theirs = socket.socketpair()
        with theirs:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            with state.lock:
                if not state.nurseries and not state.closed.is_set():
                    state.nurseries.extend(_nursery(state.parts))
                pid = _request(state, 0, [theirs.fileno()])
                if pid:
                    return _Worker(pid, ours, state.nurseries[0])
        ours.close()
        if state.closed.is_set():
            raise RuntimeError("the pool of workers is closed")
    raise RuntimeError("worker processes do not start: use workers=0 (threads)")


def _end(state, worker):
    """Kills a worker, if it is not dead; returns its exit status."""
    worker.line.close()
    with state.lock:
        if worker.nursery in state.nurseries:  # Else it has died with its nursery.
            status = _request(state, worker.pid, [])
            return -signal.SIGKILL if status is None else status
    return -signal.SIGKILL


def _request(state, pid, descriptors):
    """The nursery's answer, see forkserver.main; None if it has died.  Wants the lock."""
    if not state.nurseries:
        return None
    control = state.nurseries[0].control
    try:
        socket.send_fds(control, [protocol.NUMBER.pack(pid)], descriptors)
        return protocol.NUMBER.unpack(protocol.exactly(control, protocol.NUMBER.size))[0]
    except (EOFError, OSError):
        _dismiss(state.nurseries.pop())
        return None


def _nursery(parts):
    """[a new nursery], or [] if it has died; it imports what the function needs and no more."""
    ours, theirs = socket.socketpair()
    with theirs:
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; "
            f"from avjax.data.workers import forkserver; forkserver.main({theirs.fileno()})"
        )
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-c", code],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env=os.environ | ONE_CORE,
        )
    ours.settimeout(START)
    made = _Nursery(process, ours)
    try:
        protocol.write(ours, parts)
        error = protocol.read(ours)
    except (EOFError, OSError):
        _dismiss(made)
        return []
    if error:
        _dismiss(made)
        raise protocol.raised(error)
    return [made]


def _dismiss(old):
    """Ends a nursery and its workers."""
    old.control.close()
    try:
        old.process.wait(GRACE)
    except subprocess.TimeoutExpired:
        old.process.kill()
        old.process.wait()


def _close(state, count):
    """Ends all processes and waits for the calls that were under way, which raise."""
    state.closed.set()
    with state.lock:
        while state.nurseries:
            _dismiss(state.nurseries.pop())
    with contextlib.suppress(queue.Empty):
        for _ in range(count):
            worker = state.idle.get(timeout=GRACE)
            if worker:
                worker.line.close()
    for _ in range(count):
        state.idle.put(None)  # For those who wait for a worker: they raise in their turn.


def check(function):
    """Raises a ValueError if `function`, or a part of one, cannot be sent to a process."""
    _packed(function)
