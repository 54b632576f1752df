"""Writes that a full disk has refused: kept in memory, and tried again at the next ones."""

import logging
import os
from collections.abc import Callable

from avjax.runtime.atomic import append
from avjax.runtime.save_failures import is_disk_full

log = logging.getLogger(__name__)


class PendingWrites:
    """Writes into the folder of a run, of which a full disk stops none for good."""

    def __init__(self):
        self._pending: dict[str, Callable[[], object]] = {}

    def attempt(self, name: str, write: Callable[[], object]) -> None:
        """Calls `write` and the functions that failed before.

        Args:
          name: of the file; a later function for the same file replaces the earlier one.
          write: raises an OSError if the disk is full, and may be called again.

        Raises:
          OSError: another error than a full disk.
        """
        known = name in self._pending
        for other, function in (self._pending | {name: write}).items():
            self._pending[other] = function
            try:
                function()
            except OSError as error:
                if not is_disk_full(error):
                    raise
                continue
            del self._pending[other]
        if name in self._pending and not known:
            log.warning("%s: no space left on the disk; it is kept and written later", name)

    def appender(self, path: str | os.PathLike) -> Callable[[str], None]:
        """Returns a function (text) that appends to a file, as `attempt` does."""
        unwritten = []

        def flush():
            append(path, "".join(unwritten))
            unwritten.clear()

        def write(text):
            unwritten.append(text)
            self.attempt(os.fspath(path), flush)

        return write

    def finish(self) -> None:
        """Calls the functions that failed; raises their OSError if they still do."""
        for name, function in list(self._pending.items()):
            function()
            del self._pending[name]
