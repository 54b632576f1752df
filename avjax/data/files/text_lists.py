"""Lists in text files (CSV, lines, JSON), as data sets publish them and as people write them."""

import codecs
import csv
import io
import json
import os
import stat

DELIMITERS = ",;\t|"
# How files begin that are often given for a text: what they are, and the remedy.
NOT_TEXT = {
    b"\x1f\x8b": "is compressed with gzip: unpack it first (gunzip)",
    b"PK\x03\x04": "is a spreadsheet or a zip archive: save it as CSV, or unpack it",
}


def table(file, needed=(), columns=None) -> list[dict[str, str]]:
    """The rows of a CSV file, one dictionary each; a ValueError names what is wrong with the file.

    Names of columns are in lower case; columns without a name are left out.  The delimiter (comma,
    semicolon, tab or |) is the one that divides the first line most.  Lines before it that begin
    with #, blank lines, and empty cells beyond the last column are passed over.

    Args:
      needed: columns that must be there.
      columns: their names, where no first line says them; the delimiter is then the comma.
    """
    content, rows, delimiter, spaced = text(file), [], ",", False
    try:
        if columns is None:
            content, columns, delimiter, spaced = _header(file, content)
        for name in needed:
            if name not in columns:
                raise ValueError(f"{file} has no column {name!r}, only {short(list(columns))}")
        reader = csv.reader(
            io.StringIO(content, newline=""),
            delimiter=delimiter,
            skipinitialspace=spaced,
            strict=True,
        )
        for cells in reader:
            if not any(cells):
                continue
            if len(cells) < len(columns) or any(cells[len(columns) :]):
                raise ValueError(f"{file}: record {len(rows) + 1} has not {len(columns)} cells")
            rows.append({name: cell for name, cell in zip(columns, cells) if name})
    except csv.Error as error:
        raise ValueError(f"{file}: record {len(rows) + 1} is not CSV: {error}") from error
    return rows


def _header(file, content):
    """(text after the first line, names of the columns, delimiter, whether spaces follow it)."""
    while content.startswith(("#", "\n", "\r")):
        _, _, content = content.partition("\n")
    if not content.strip():
        raise ValueError(f"{file} is empty: its first line must name the columns")
    first, _, rest = content.partition("\n")
    by = {mark: next(csv.reader([first], delimiter=mark)) for mark in DELIMITERS}
    delimiter = max(DELIMITERS, key=lambda mark: len(by[mark]))
    cells = by[delimiter]
    names = [cell.strip().lower() for cell in cells]
    while names and not names[-1]:
        names.pop()
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise ValueError(f"{file} has two columns {twice[0]!r}: keep one")
    return rest, names, delimiter, any(cell.startswith(" ") for cell in cells[1:])


def lines(file) -> list[str]:
    """The lines of a text file, without those that are blank."""
    return [line for line in map(str.strip, text(file).split("\n")) if line]


def document(file):
    """What a JSON file holds; numbers that are none (NaN) included."""
    try:
        return json.loads(text(file))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON: {error}") from error


def text(file) -> str:
    """What a list holds, without a byte order mark: UTF-8, or UTF-16 that has such a mark.

    Bytes that are not UTF-8 are kept as Python keeps those of file names (avjax.runtime.filenames),
    so that a list may name any file.
    """
    if not os.path.exists(file):
        raise FileNotFoundError(f"no file {file}: it comes with the data set; say where it is")
    if not stat.S_ISREG(os.stat(file).st_mode):  # A FIFO would hang, a device never end.
        raise ValueError(f"{file} is not a regular file: name the list itself")
    with open(file, "rb") as opened:
        data = opened.read()
    for mark, remedy in NOT_TEXT.items():
        if data.startswith(mark):
            raise ValueError(f"{file} {remedy}")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError as error:
            raise ValueError(f"{file} is not UTF-16 text, as it says: {error}") from error
    return data.decode("utf-8-sig", "surrogateescape")


def short(value) -> str:
    """What a list holds, fit to be shown on one line."""
    shown = repr(value)
    return shown if len(shown) <= 100 else f"{shown[:100]}..."
