"""One program at a time writes a folder: a lock that ends with its process."""

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator

LOCK_FILE = "prepare.lock.part"  # A killed process leaves it, as other files that end in .part.


@contextlib.contextmanager
def hold_lock(folder: str) -> Iterator[None]:
    """Holds the lock of `folder` while its block runs.

    The system releases the lock when the process ends, kill -9 included.  If the file system has
    no locks, a line on stderr says so and the block runs without.

    Raises:
      ValueError: another process holds it; the message names host, process and time.
    """
    path = os.path.join(folder, LOCK_FILE)
    file = _open_locked(path)
    try:
        file.seek(0)
        file.truncate()
        holder = dict(
            host=socket.gethostname(), pid=os.getpid(), since=time.strftime("%Y-%m-%d %H:%M:%S")
        )
        json.dump(holder, file)
        file.flush()
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
        file.close()


def _open_locked(path):
    """The locked file of the name `path`."""
    import fcntl

    while True:
        file = open(path, "a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            with file:
                raise ValueError(_held_message(path, file)) from error
        except OSError as error:
            text = (
                f"avjax: {path} cannot be locked ({error.strerror}): start no second prepare here"
            )
            print(text, file=sys.stderr)
            return file
        # The holder before deletes its file: another file may have the name by now.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        file.close()


def _held_message(path, file):
    file.seek(0)
    try:
        holder = json.load(file)
        which = f"process {holder['pid']} on {holder['host']}, since {holder['since']}"
    except ValueError:  # Its holder has not written it yet.
        which = "started just now"
    return (
        f"{os.path.dirname(path)} is being written by another prepare ({which}): wait until it "
        "ends, or choose another folder"
    )
