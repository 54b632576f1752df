"""File names of any bytes: kept as they are in files, escaped on a screen and in a page.

Python reads a name that is not UTF-8 with `surrogateescape`: each byte that does not fit becomes
one of 128 reserved characters.  Those cannot be encoded again unless one says how: the bytes
themselves in a text file (TEXT), or readable escapes such as \\udce9 (`printable`).
"""

import sys

# Arguments of open() for text files that hold file names: any name is read back as it was.
TEXT = dict(encoding="utf-8", errors="surrogateescape", newline="")


def printable(name) -> str:
    """`name` with what is not UTF-8 escaped: valid UTF-8, for pages, tables and messages."""
    return str(name).encode("utf-8", "backslashreplace").decode("utf-8")


def any_name_on_screen() -> None:
    """Lets standard output and standard error escape what they cannot show, instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # Not where a test or a notebook has replaced it.
            stream.reconfigure(errors="backslashreplace")
