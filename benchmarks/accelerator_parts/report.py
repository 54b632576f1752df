"""The results of `benchmarks/accelerator.py`: printed, and kept as JSON lines and as Markdown.

A row is written when it is known, so a program that is killed has lost only what it has not run.
"""

import json
import math
import os
import pathlib
import threading
import traceback

ROWS, TABLES, LOG = "accelerator.jsonl", "accelerator.md", "accelerator.log"


def add(folder, part, table, fields):
    """Prints a row, and writes it to the files of results.

    Args:
      folder: of the files.
      part: name of the part.
      table: title of the row's table.
      fields: {column: value}; "passed" of False and "error" are failures.
    """
    row = {"part": part, "table": table, **fields}
    with open(pathlib.Path(folder, ROWS), "a", encoding="utf-8") as file:
        file.write(json.dumps(row, default=float) + "\n")
    words = ", ".join(f"{name} {text(value)}" for name, value in fields.items() if text(value))
    print(f"{part} | {table} | {words}", flush=True)
    write_tables(folder)


def guard(add, table, names, make):
    """Returns `make()`; an error becomes a row of results, and None is returned.

    Args:
      add: (table, fields) -> None.
      table: title of the table.
      names: {column: value}, the first columns of the row of an error.
      make: function without arguments.
    """
    try:
        return make()
    except Exception as error:  # Out of memory, say: the next row may fit.
        traceback.print_exc()
        add(table, names | {"error": describe(error)})
        return None


def attempt(add, table, names, measure):
    """Reports the row that `measure` returns, or its error; returns the measured columns.

    Args:
      add, table, names: as of `guard`.
      measure: () -> {column: value}.
    """
    fields = guard(add, table, names, measure)
    if fields is not None:
        add(table, names | fields)
    return fields or {}


def describe(error):
    """An error in one short line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


def load(folder):
    """All rows in the folder so far."""
    path = pathlib.Path(folder, ROWS)
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    complete = text[: text.rfind("\n") + 1]  # Another part may be writing a line.
    return [json.loads(line) for line in complete.splitlines()]


def failures(rows):
    """The rows that report an error, or a check that did not pass."""
    return [row for row in rows if "error" in row or row.get("passed") is False]


def write_tables(folder):
    """Writes all rows as Markdown: a heading per part and a table per title."""
    tables = {}
    for row in load(folder):
        tables.setdefault(row.pop("part"), {}).setdefault(row.pop("table"), []).append(row)
    lines = ["# Accelerator", ""]
    for part, titles in tables.items():
        lines += [f"## {part}", ""]
        for title, rows in titles.items():
            columns = list(dict.fromkeys(name for row in rows for name in row))
            lines += [f"{title}:", "", row_of(columns), row_of(["---"] * len(columns))]
            lines += [row_of([text(row.get(name)) for name in columns]) for row in rows]
            lines.append("")
    new = pathlib.Path(folder, f"{TABLES}.{os.getpid()}-{threading.get_ident()}")
    new.write_text("\n".join(lines), encoding="utf-8")
    new.replace(pathlib.Path(folder, TABLES))


def row_of(cells):
    """A line of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def text(value):
    """A value of a table as text; "" for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        exact = math.isfinite(value) and abs(value) >= 1000
        return f"{value:,.0f}" if exact else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
