"""Refuses FIFOs, sockets and devices in place of files.

A file that a user names, or that is in a folder from elsewhere, is checked before it is opened: to
read from a FIFO may wait for ever, and a device may have no end.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path

KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def special_kind(path: str | os.PathLike) -> str | None:
    """Returns what a path is if not a regular file, e.g. "a FIFO"; None for regular files.

    Args:
      path: of a file; links are followed.

    Raises:
      OSError: it does not exist, or cannot be accessed.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISREG(mode):
        return None
    return next((kind for is_kind, kind in KINDS if is_kind(mode)), "a special file")


def check_regular(path: str | os.PathLike) -> None:
    """Checks that a path is a regular file, before it is opened.

    Args:
      path: of a file; links are followed.

    Raises:
      ValueError: it is a FIFO, a device, a socket or a folder.
      OSError: it does not exist, or cannot be accessed.
    """
    if kind := special_kind(path):
        raise ValueError(f"{path} is {kind}, not a regular file: put the file itself there")


def check_appendable(path: str | os.PathLike) -> None:
    """Like `check_regular`, for a file that need not exist yet."""
    if os.path.lexists(path):
        check_regular(path)


def read_text(path: str | os.PathLike, errors: str = "strict") -> str:
    """Returns the text of a regular file in UTF-8.

    Args:
      path: of the file.
      errors: as of `open`, for bytes that are not UTF-8.

    Raises:
      ValueError: it is no regular file, or not UTF-8.
      OSError: it cannot be read.
    """
    check_regular(path)
    return Path(path).read_text(encoding="utf-8", errors=errors)
