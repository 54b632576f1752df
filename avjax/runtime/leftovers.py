"""Unfinished files of a process that was killed: deleted when a run starts."""

import os
import re
from pathlib import Path

PART = re.compile(r".+\.[0-9a-f]{8}\.part")  # See `atomic.atomic_replace`.


def remove(workdir: str | os.PathLike) -> None:
    """Deletes the unfinished files in the folder of a run, at any depth.

    Args:
      workdir: the folder, in which no other process writes.
    """
    for folder, _, names in os.walk(workdir):
        for name in filter(PART.fullmatch, names):
            Path(folder, name).unlink(missing_ok=True)
