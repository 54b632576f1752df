"""File names that are not UTF-8: unchanged in text files, escaped on the terminal and in pages.

Python decodes such names with `surrogateescape`: each invalid byte becomes one of 128 surrogates.
They are encoded as the original bytes in text files (OPEN_ARGS), or as escapes such as \\udce9
(`printable`).
"""

import sys
from typing import Any

# Arguments of open() for text files with file names: any name is read back unchanged.
OPEN_ARGS: dict[str, Any] = dict(encoding="utf-8", errors="surrogateescape", newline="")


def printable(name: object) -> str:
    """Returns `name` as valid UTF-8, other bytes escaped: for pages, tables and messages."""
    return str(name).encode("utf-8", "backslashreplace").decode("utf-8")


def escape_unprintable_output() -> None:
    """Makes stdout and stderr escape characters that they cannot encode instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # Tests and notebooks may have replaced it.
            reconfigure(errors="backslashreplace")
