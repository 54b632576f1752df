"""CSV files that spreadsheets show as they are.

A spreadsheet takes a cell that begins with one of = + - @ as a formula, which may run a program or
send other cells elsewhere; names of files and classes may begin so.  Such texts get an apostrophe
in front, which a spreadsheet does not show; numbers stay numbers.
"""

import csv
import re
from collections.abc import Iterable
from typing import Any

# A text that begins so gets an apostrophe; one that begins with it already gets another, so that
# `unescape` is exact.
FORMULA = re.compile(r"'*[=+\-@\t\r]")


def write_rows(file: Any, rows: Iterable[Iterable[Any]]) -> None:
    """Writes rows of cells to an open text file.

    Args:
      file: opened with newline="".
      rows: of texts, numbers and None.
    """
    csv.writer(file).writerows([escape(cell) for cell in row] for row in rows)


def escape(cell: Any) -> Any:
    """Returns a cell; with an apostrophe in front if it is a text that would be a formula."""
    if isinstance(cell, str) and FORMULA.match(cell) and not _is_number(cell):
        return f"'{cell}"
    return cell


def unescape(cell: str) -> str:
    """Returns the text of a cell that `escape` wrote."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell


def _is_number(text: str) -> bool:
    """Whether a text is a plain number, as "-1.5e-3"."""
    return bool(re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)", text))
