"""Failed saves, e.g. on a full disk: logged in one line; the third in a row ends the run."""

import errno
import logging
import os
import re
import shutil
import sys
import traceback
from pathlib import Path

import jax

from avjax.runtime import sharding

MAX_IN_A_ROW = 3
ERRORS = (OSError, ValueError, RuntimeError)  # Orbax and TensorStore raise these.
# A checkpoint of random float32 takes 0.93 times the bytes of its state while it is written.
SPACE_FACTOR = 1.2
SPACE_MARGIN = 2**20
TMP = ".orbax-checkpoint-tmp"  # Orbax: the suffix of a folder that is being written.

log = logging.getLogger(__name__)


class Failures:
    """The saves of a run that failed in a row.

    Attributes:
      folder: of the checkpoints.
      in_a_row: number of failed saves since one that succeeded.
      reason: of the last failure, one line.
    """

    def __init__(self, folder: Path):
        self.folder, self.in_a_row, self.reason = folder, 0, ""

    def reset(self) -> None:
        """Notes that a save has succeeded."""
        self.in_a_row = 0

    def add(self, step: int, error: BaseException) -> None:
        """Tells that a save has failed, and removes what it left.

        Args:
          step: of the save.
          error: why.
        """
        self.in_a_row, self.reason = self.in_a_row + 1, describe(error)
        for path in self.folder.glob(f"{step}{TMP}*"):
            shutil.rmtree(path, ignore_errors=True)
        log.warning(
            "step %s is not saved in %s: %s (failure %s in a row, the run ends at %s)",
            step, self.folder, self.reason, self.in_a_row, MAX_IN_A_ROW,
        )  # fmt: skip

    def stop_if_too_many(self, limit: int = MAX_IN_A_ROW) -> None:
        """Raises OSError if `limit` saves in a row failed."""
        if self.in_a_row >= limit:
            raise OSError(
                f"the state is not saved in {self.folder}, {self.in_a_row} saves in a row failed: "
                f"{self.reason}; mend this and re-run the command to resume from the latest "
                "checkpoint"
            )


def describe(error: BaseException) -> str:
    """Returns why a save failed as one line; for a full disk, what to do."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
        return text.partition("] ")[2]  # Of `check_free_space`.
    if is_disk_full(error):
        return "no space left on the disk: free some space"
    cause = re.search(r"([^:]+) \[os_error_code", text)  # The end of an error of TensorStore.
    return cause[1].strip() if cause else f"{text[:300]} ({type(error).__name__})"


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that a disk, or a user's part of it, is full."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return any(text in str(error) for text in ("No space left on device", "Disk quota exceeded"))


def check_free_space(folder: str | os.PathLike, size: int) -> None:
    """Checks that a checkpoint fits on the disk of process 0.

    Args:
      folder: of the checkpoints.
      size: of the state in bytes.

    Raises:
      OSError: in all processes, it does not; process 0 says how much is missing.
    """
    error = _missing_space(folder, size) if jax.process_index() == 0 else None
    if sharding.broadcast_from_process_zero(error is not None):
        raise error or OSError("process 0 finds too little space on the disk")


def _missing_space(folder: str | os.PathLike, size: int) -> OSError | None:
    """The error of a disk that is too full for a checkpoint, or cannot be asked."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return error
    needed = int(SPACE_FACTOR * size) + SPACE_MARGIN
    if free >= needed:
        return None
    return OSError(
        errno.ENOSPC,
        f"the disk has {free / 1e6:,.1f} MB free, a checkpoint needs {needed / 1e6:,.1f} MB: "
        "free some space",
    )


def quiet_orbax() -> None:
    """Drops the tracebacks of Orbax and TensorStore when a save fails, up to hundreds of lines.

    For good: some come when the garbage of a save is collected, or when the program ends.
    """
    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(_is_no_error_of_orbax)
    hook = sys.unraisablehook
    if getattr(hook, "__name__", "") == "_drop_closed_loops":
        return

    def _drop_closed_loops(unraisable):
        if str(unraisable.exc_value) != "Event loop is closed":  # Of other arrays of the same save.
            hook(unraisable)

    sys.unraisablehook = _drop_closed_loops


def _is_no_error_of_orbax(record: logging.LogRecord) -> bool:
    if record.levelno < logging.ERROR:
        return True
    error = record.exc_info[1] if record.exc_info else None
    frames = traceback.extract_tb(error.__traceback__) if error else []
    paths = [record.pathname, *(frame.filename for frame in frames)]
    return not any("orbax" in Path(path).parts for path in paths)
