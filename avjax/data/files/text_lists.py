"""Reads lists in text files (CSV, lines, JSON), as published with data sets or written by users."""

import codecs
import csv
import io
import json
import os
from collections.abc import Sequence
from typing import Any

from avjax.runtime.regular_files import check_regular

DELIMITERS = ",;\t|"
# How files begin that are often given for a text: what they are, and the remedy.
NOT_TEXT = {
    b"\x1f\x8b": "is compressed with gzip: unpack it first (gunzip)",
    b"PK\x03\x04": "is a spreadsheet or a zip archive: save it as CSV, or unpack it",
}


def read_csv(
    file: str, required: Sequence[str] = (), columns: Sequence[str] | None = None
) -> list[dict[str, str]]:
    """Returns the rows of a CSV file, one dictionary each.

    Column names are in lower case; columns without a name are left out.  The delimiter (comma,
    semicolon, tab or |) is the one that divides the first line most.  Lines before it that begin
    with #, blank lines, and empty cells beyond the last column are ignored.

    Args:
      file: its path.
      required: columns that must be there.
      columns: their names, if there is no header line; the delimiter is then the comma.

    Raises:
      ValueError: says what is wrong with the file.
    """
    content, rows, delimiter, skip_spaces = read_text(file), [], ",", False
    try:
        if columns is None:
            content, columns, delimiter, skip_spaces = _parse_header(file, content)
        for name in required:
            if name not in columns:
                raise ValueError(
                    f"{file} has no column {name!r}, only {truncated_repr(list(columns))}"
                )
        reader = csv.reader(
            io.StringIO(content, newline=""),
            delimiter=delimiter,
            skipinitialspace=skip_spaces,
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


def _parse_header(file, content):
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


def read_lines(file: str) -> list[str]:
    """Returns the lines of a text file, without blank lines."""
    return [line for line in map(str.strip, read_text(file).split("\n")) if line]


def read_json(file: str) -> Any:
    """Returns the content of a JSON file; raises ValueError if it is not JSON."""
    try:
        return json.loads(read_text(file))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON: {error}") from error


def read_text(file: str) -> str:
    """Returns the text of a file: UTF-8, or UTF-16 with a byte order mark.

    Bytes that are not UTF-8 are kept as Python keeps those of file names
    (avjax.runtime.filenames), so that a list may name any file.

    Raises:
      FileNotFoundError, ValueError: there is no such file, or it is not text.
    """
    if not os.path.exists(file):
        raise FileNotFoundError(f"no file {file}: it comes with the data set; say where it is")
    check_regular(file)
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


def truncated_repr(value: object) -> str:
    """Returns repr(value), at most about 100 characters."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
