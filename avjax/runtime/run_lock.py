"""One run, one folder: a second process that would write into the folder of a run is refused.

Folders of caches are waited for instead.
"""

import contextlib
import datetime
import errno
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

POLL_SECONDS = 1.0
FILENAME = "run.lock"  # In the folder of a run; it stays there, empty, after the run.
UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class InUse(ValueError):
    """Another process writes into the folder."""


@contextlib.contextmanager
def hold(workdir: str | os.PathLike, filename: str = FILENAME) -> Iterator[None]:
    """Holds the folder of a run during the block.

    The operating system releases it with the process, so that of a dead process is taken over.  On
    file systems without locks the process named in the file decides: whether it is alive, or, on
    another machine, unknown, which counts as alive.

    Args:
      workdir: the folder of the run; it is created.
      filename: of the lock; locks of several names are independent.

    Raises:
      InUse: another process holds it; the message says which.
      OSError: the file cannot be written.
    """
    path = Path(workdir) / filename
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise InUse(_message(workdir, path)) from error
            if _owner_is_alive(path):
                raise InUse(_message(workdir, path)) from error
        _write(file, json.dumps(_owner()))
        try:
            yield
        finally:
            _write(file, "")


@contextlib.contextmanager
def wait_and_hold(folder: str | os.PathLike, filename: str, what: str) -> Iterator[None]:
    """Holds a folder during the block; waits while another process holds it, and says so once.

    Args:
      folder, filename: see `hold`.
      what: is done in the block, e.g. "features of train".
    """
    with contextlib.ExitStack() as stack:
        waiting = False
        while True:
            try:
                stack.enter_context(hold(folder, filename))
                break
            except InUse:
                if not waiting:
                    pid, host, since = _names(Path(folder) / filename)
                    text = (
                        f"{what}: waiting for process {pid} on {host}, which does it since {since}"
                    )
                    print(text, file=sys.stderr, flush=True)
                waiting = True
                time.sleep(POLL_SECONDS)
        yield


def check_free(workdir: str | os.PathLike) -> None:
    """Checks early that no other process holds the folder of a run; changes nothing.

    Args:
      workdir: the folder of the run; it need not exist.

    Raises:
      InUse: another process holds it.
    """
    path = Path(workdir) / FILENAME
    try:
        file = open(path, encoding="utf-8")
    except OSError:
        return  # It does not exist, or `hold` will say what is wrong with it.
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in UNSUPPORTED or _owner_is_alive(path):
                raise InUse(_message(workdir, path)) from error


def _write(file, text: str) -> None:
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()


def _owner() -> dict:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": now}


def _read(path: Path) -> dict:
    """Returns what a lock file says of its owner; {} if nothing."""
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _owner_is_alive(path: Path) -> bool:
    """Whether the process named in a lock file may be running."""
    owner = _read(path)
    if not isinstance(owner.get("pid"), int):
        return False
    if owner.get("host") != socket.gethostname():
        return True  # Unknown: rather refused than two writers.
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return owner["pid"] != os.getpid()


def _names(path: Path) -> list[str]:
    """Returns process, host and time of the owner of a lock file, "?" if they are not there."""
    owner = _read(path)
    for _ in range(10):  # The owner may not have written it yet.
        if owner:
            break
        time.sleep(0.05)
        owner = _read(path)
    return [str(owner.get(key, "?")) for key in ("pid", "host", "since")]


def _message(workdir, path: Path) -> str:
    who = _names(path)
    return (
        f"the run in {workdir} is in use by process {who[0]} on {who[1]} since {who[2]}: wait for "
        f"it, end it, or choose another --workdir (if it is dead, delete {path})"
    )
