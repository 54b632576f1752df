"""CSV files for spreadsheets: written atomically, without formulas in text cells.

A spreadsheet takes a text that begins with one of = + - @ as a formula, which may run a program or
send other cells elsewhere; names of files and classes may begin so.  Such a text gets an apostrophe
in front; numbers stay numbers.  See https://owasp.org/www-community/attacks/CSV_Injection
"""

import csv
import io
import os
import re
from collections.abc import Iterable
from typing import Any

from avjax.runtime.atomic import write_atomic
from avjax.runtime.filenames import printable

# A text that begins with an apostrophe and one of these gets another one, so that `unescape` is
# exact.
FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
NUMBER = re.compile(r"-(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|-inf")


def write_csv(path: str | os.PathLike, lines: Iterable[Iterable[object]]) -> None:
    """Writes a CSV file; see `escape` for its cells.

    Args:
      path: the file; its folder must exist.
      lines: of cells; floats are written with all digits, None as an empty cell.
    """
    texts = [[printable(c) if isinstance(c, str) else c for c in line] for line in lines]
    write_atomic(path, format_rows(texts))


def write_rows(file: Any, rows: Iterable[Iterable[object]]) -> None:
    """Writes rows of cells to an open text file; see `escape`.

    Args:
      file: opened with newline="".
      rows: of texts, numbers and None.
    """
    csv.writer(file).writerows([escape(cell) for cell in row] for row in rows)


def format_rows(rows: Iterable[Iterable[object]]) -> str:
    """Returns rows of cells as lines of a CSV file; see `write_rows`."""
    text = io.StringIO(newline="")
    write_rows(text, rows)
    return text.getvalue()


def escape(cell: object) -> object:
    """Returns a cell; with an apostrophe in front if it is a text that would be a formula.

    Args:
      cell: text, a number or None.  The text of a negative number, such as "-1.5", is unchanged.
    """
    if isinstance(cell, str) and FORMULA.match(cell) and not NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def unescape(cell: str) -> str:
    """Returns the text of a cell that `escape` wrote."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell
