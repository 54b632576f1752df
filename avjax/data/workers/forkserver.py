"""The fork server of avjax.data.workers.pool, and the workers it forks.

The fork server loads the function once, so a worker starts within milliseconds, however large
the data set that the function holds.  It does not load the program that started it: that needs
no `if __name__ == "__main__"`, and workers never import JAX.  Nothing here outlives that
program: the fork server ends when its control connection does, and Linux kills a worker, even
one that hangs or is stopped, when the fork server ends.
"""

import ctypes
import gc
import os
import pickle  # noqa: S403 (only from the program that starts us)
import signal
import socket
import sys
import traceback

import cv2

from avjax.data.workers import malloc
from avjax.data.workers.protocol import INT64, dump_exception, pack, read, recv_exact, write

OUT_OF_MEMORY = 77  # A worker's exit status.
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(descriptor: int) -> None:
    """Runs the fork server: forks one worker per socket and kills workers on request.

    A worker that has died keeps its process id until then, so that the id is not reused.

    Args:
      descriptor: file descriptor of the control socket.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # Sent to the group: for the parent, which ends us.
    cv2.setNumThreads(1)
    malloc.retain_freed_memory()
    control, workers = socket.socket(fileno=descriptor), set()
    try:
        (size,) = INT64.unpack(recv_exact(control, INT64.size).data)
        function, memory_limit = pickle.loads(recv_exact(control, size).data)  # noqa: S301
    except EOFError:
        return
    except Exception as error:  # Any: a module that is not found, say. The parent raises it.
        write(control, pack(_dump_error(error)))
        return
    write(control, pack(None))
    gc.collect()
    gc.freeze()  # Workers share these pages until one is written to.
    while True:
        try:
            request, received, _, _ = socket.recv_fds(control, INT64.size, 1)
        except ConnectionError:
            request = b""
        if not request:
            break
        (pid,) = INT64.unpack(request)
        if pid:
            workers.remove(pid)
            reply = _kill_child(pid)
        else:
            parent, reply = os.getpid(), os.fork()
            if reply == 0:
                control.close()
                _run_worker(socket.socket(fileno=received[0]), function, memory_limit, parent)
            workers.add(reply)
            os.close(received[0])
        control.sendall(INT64.pack(reply))
    for pid in workers:
        _kill_child(pid)


def _kill_child(pid):
    """Kills a child; returns its exit status, -n if signal n has killed it, before or now."""
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _run_worker(connection, function, memory_limit, parent):
    """Serves requests until the connection is closed."""
    try:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:  # It has gone already.
                return
            _limit_memory(memory_limit)
        while True:
            number, blocked = read(connection)
            write(connection, _run_task(function, number, blocked, connection))
    except (EOFError, OSError):
        pass  # The parent has gone.
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _run_task(function, number, blocked, connection):
    def heartbeat(key):
        write(connection, pack(("heartbeat", key)))

    try:
        return pack(("done", function(number, blocked, heartbeat)))
    except BaseException as error:  # Any: the parent raises it.
        if _is_out_of_memory(error):
            os._exit(OUT_OF_MEMORY)
        return pack(("error", _dump_error(error)))


def _dump_error(error):
    trace = "In a worker process:\n" + "".join(traceback.format_exception(error))
    return dump_exception(error, trace)


def _is_out_of_memory(error):
    return isinstance(error, MemoryError) or (
        isinstance(error, cv2.error) and getattr(error, "code", None) == cv2.Error.StsNoMem
    )


def _limit_memory(memory_limit):
    """Limits what this process may write to, to its present size and `memory_limit` bytes.

    Not its address space: a reader of shards has 64 threads, each with a stack that it never uses.
    """
    import resource

    with open("/proc/self/statm", encoding="ascii") as file:
        size = int(file.read().split()[5]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = size + memory_limit
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def memory_is_limited() -> bool:
    """Returns whether this process has limited its own memory, as workers do."""
    if sys.platform != "linux":
        return False
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    return soft != hard
