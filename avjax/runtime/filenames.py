"""Names of files: the same file under two names; names that are not UTF-8.

These are unchanged in text files, escaped on the terminal and in pages.

Python decodes such names with `surrogateescape`: each invalid byte becomes one of 128 surrogates.
They are encoded as the original bytes in text files (OPEN_ARGS), or as escapes such as \\udce9
(`printable`).
"""

import functools
import os
import sys
from typing import Any

# Arguments of open() for text files with file names: any name is read back unchanged.
OPEN_ARGS: dict[str, Any] = dict(encoding="utf-8", errors="surrogateescape", newline="")


def same_path(a: object, b: object) -> bool:
    """Whether two names are of the same file or folder: absolute or relative, or through links."""
    if a == b or not isinstance(a, str) or not isinstance(b, str):
        return a == b
    (folder_a, name_a), (folder_b, name_b) = (os.path.split(os.path.normpath(p)) for p in (a, b))
    if name_a == name_b and _real_folder(folder_a) == _real_folder(folder_b):
        return True
    return os.sep in a + b and os.path.realpath(a) == os.path.realpath(b)


@functools.lru_cache(maxsize=1024)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


def printable(name: object) -> str:
    """Returns `name` as valid UTF-8, other bytes escaped: for pages, tables and messages."""
    return str(name).encode("utf-8", "backslashreplace").decode("utf-8")


def escape_unprintable_output() -> None:
    """Makes stdout and stderr escape characters that they cannot encode instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # Tests and notebooks may have replaced it.
            reconfigure(errors="backslashreplace")
