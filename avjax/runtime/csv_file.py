"""CSV files for spreadsheets: written atomically, without formulas in text cells."""

import csv
import io
import os
from collections.abc import Iterable, Sequence

from avjax.runtime.atomic import write_atomic
from avjax.runtime.filenames import printable

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def escape_formula(cell: object) -> object:
    """Returns a cell that a spreadsheet does not evaluate: text that starts a formula gets a "'".

    Numbers are unchanged, also negative ones.  See
    https://owasp.org/www-community/attacks/CSV_Injection

    Args:
      cell: text, a number or None.
    """
    if not isinstance(cell, str):
        return cell
    text = printable(cell)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def write_csv(path: str | os.PathLike, lines: Iterable[Sequence[object]]) -> None:
    """Writes a CSV file; see `escape_formula` for its cells.

    Args:
      path: the file; its folder must exist.
      lines: of cells; floats are written with all digits, None as an empty cell.
    """
    text = io.StringIO(newline="")
    csv.writer(text).writerows([escape_formula(cell) for cell in line] for line in lines)
    write_atomic(path, text.getvalue())
