"""What runs in the processes of avjax.data.workers.pool: a nursery, and the workers it forks.

The nursery loads the function once, so a worker is there within milliseconds, however large
the data set that the function holds.  It does not load the program that started it: that
needs no `if __name__ == "__main__"`, and workers never see JAX.  Nothing here outlives that
program: the nursery ends when its control line does, and Linux kills a worker, even one that
hangs or is stopped, when the nursery ends.
"""

import ctypes
import gc
import os
import pickle  # noqa: S403 (of the program that starts us, and nobody else)
import signal
import socket
import sys
import traceback

import cv2

from avjax.data.workers import malloc
from avjax.data.workers.protocol import NUMBER, exactly, pack, read, told, write

OUT_OF_MEMORY = 77  # A worker's exit status.
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(descriptor):
    """The nursery: forks a worker for each line it is sent, and ends those it is told to.

    A worker that has died keeps its process id until then, so that the id is never another's.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us.
    cv2.setNumThreads(1)
    malloc.keep()
    control, children = socket.socket(fileno=descriptor), set()
    try:
        (size,) = NUMBER.unpack(exactly(control, NUMBER.size))
        function, memory = pickle.loads(exactly(control, size))  # noqa: S301
    except EOFError:
        return
    except Exception as error:  # Any: a module that is not found, say. The parent raises it.
        write(control, pack(_told(error)))
        return
    write(control, pack(None))
    gc.collect()
    gc.freeze()  # Workers share these pages for as long as nobody writes to them.
    while True:
        try:
            request, lines, _, _ = socket.recv_fds(control, NUMBER.size, 1)
        except ConnectionError:
            request = b""
        if not request:
            break
        (pid,) = NUMBER.unpack(request)
        if pid:
            children.remove(pid)
            reply = _end(pid)
        else:
            nursery, reply = os.getpid(), os.fork()
            if reply == 0:
                control.close()
                _work(socket.socket(fileno=lines[0]), function, memory, nursery)
            children.add(reply)
            os.close(lines[0])
        control.sendall(NUMBER.pack(reply))
    for pid in children:
        _end(pid)


def _end(pid):
    """Kills a child; returns its exit status, -n if signal n has killed it, at first or now."""
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _work(line, function, memory, nursery):
    """A worker's life, which ends with its line."""
    try:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != nursery:  # It has gone already.
                return
            _limit(memory)
        while True:
            number, barred = read(line)
            write(line, _answer(function, number, barred, line))
    except (EOFError, OSError):
        pass  # The parent has gone.
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _answer(function, number, barred, line):
    def announce(key):
        write(line, pack(("at", key)))

    try:
        return pack(("done", function(number, barred, announce)))
    except BaseException as error:  # Any: the parent raises it.
        if _short_of_memory(error):
            os._exit(OUT_OF_MEMORY)
        return pack(("raised", _told(error)))


def _told(error):
    trace = "In a worker process:\n" + "".join(traceback.format_exception(error))
    return told(error, trace)


def _short_of_memory(error):
    return isinstance(error, MemoryError) or (
        isinstance(error, cv2.error) and getattr(error, "code", None) == cv2.Error.StsNoMem
    )


def _limit(memory):
    """Bounds what this process may write to, to its present size and `memory` bytes.

    Not its address space: a reader of shards has 64 threads, each with room that it never uses.
    """
    import resource

    with open("/proc/self/statm", encoding="ascii") as file:
        size = int(file.read().split()[5]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = size + memory
    wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def limited():
    """Whether this process has bounded its own memory, as workers do."""
    if sys.platform != "linux":
        return False
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    return soft != hard
