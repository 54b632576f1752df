"""Damaged files beside the checkpoints of a run: renamed and kept, logged in one line.

A power failure may leave zeros or half a line in a file.  The checkpoint holds what a run needs to
go on, so that no such file stops it.
"""

import logging
import os
import shutil
import zipfile
import zlib
from pathlib import Path

# What np.load, and reading an array of the file, raise if a file of arrays is damaged.
NPZ_ERRORS = (
    OSError, ValueError, EOFError, KeyError, RuntimeError, SyntaxError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip

log = logging.getLogger(__name__)


class Damaged(ValueError):
    """A file of a run cannot be read; the message names it."""


def keep(path: str | os.PathLike, reason: str, outcome: str) -> Path:
    """Keeps a damaged file under another name beside it, before it is replaced.

    Args:
      path: of the file.
      reason: what is wrong.
      outcome: what the run does without it.

    Returns:
      the other name, e.g. "config.json.damaged".
    """
    path = Path(path)
    target = unused(path.with_name(f"{path.name}.damaged"))
    try:
        os.link(path, target)  # At no moment is there no file.
    except OSError:
        shutil.copyfile(path, target)
    log.warning("%s is damaged (%s): kept as %s; %s", path, reason, target.name, outcome)
    return target


def make_folder(path: str | os.PathLike) -> None:
    """Creates a folder; a file in its place is kept under another name.

    Args:
      path: of the folder; the folder above it must exist.
    """
    path = Path(path)
    if os.path.lexists(path) and not path.is_dir():
        target = unused(path.with_name(f"{path.name}.damaged"))
        os.replace(path, target)
        log.warning("%s is not a folder: the file is kept as %s", path, target.name)
    path.mkdir(parents=True, exist_ok=True)


def unused(path: Path) -> Path:
    """Returns a path like `path` that does not exist."""
    number, found = 1, path
    while os.path.lexists(found):
        number += 1
        found = path.with_name(f"{path.name}-{number}")
    return found
