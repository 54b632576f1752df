"""A table of a study, method x mode, with published figures beside ours."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

from avjax.report import html
from avjax.runtime import csv_file, metric_info
from avjax.runtime.atomic import write_atomic

NOTE = (
    "Mean over seeds with Student's 95 % interval. “Best” is the best of the evaluations during "
    "training, chosen on the test videos, as the published figures are; “last” is without choice. "
    "R@k and mAP: of all training videos ranked for each test video. Truncated mAP divides by the "
    "hits among the first ones and leaves out queries without a hit: not comparable with mAP."
)


def make(
    quantities: Sequence[str],
    methods: Mapping[str, str],
    modes: Mapping[str, str],
    published: Mapping[str, Sequence[float | None]],
    where: str,
) -> Callable[..., str]:
    """Returns a section of `avjax.report.comparison_page` with a table for each quantity.

    The arm of a method and a mode is named METHOD-MODE; one named METHOD alone is in all modes.
    The tables are also printed, and written to table.csv and table.md.

    Args:
      quantities: titles of the quantities of the page; the published figures are of the first two.
      methods: {name in arms: name in the table}.
      modes: {title of a column: name in arms}.
      published: {method: a figure per mode, or None}.
      where: the source of the published figures.
    """

    def section(folder, rows, runs, results) -> str:
        arms = {row["arm"].name: row for row in rows if row["seeds"]}
        lines = [["quantity", "method", *(c for m in modes for c in (m, f"{m} published"))]]
        for number, title in enumerate(quantities):
            shown = published if number < 2 else {}
            for method, name in methods.items():
                cells = [_cell(arms, title, method, mode) for mode in modes.values()]
                theirs = shown.get(method) or [None] * len(modes)
                if any(cells) or any(theirs):
                    pairs = zip(cells, theirs)
                    line = [x for ours, t in pairs for x in (ours, "" if t is None else f"{t:g}")]
                    lines.append([title, name, *line])
        csv_file.write_csv(Path(folder) / "table.csv", lines)
        text = _text(lines, where)
        write_atomic(Path(folder) / "table.md", text)
        print(text)
        return _html(lines, where)

    return section


def _cell(arms, title, method, mode) -> str:
    """Mean and interval of an arm; "" if there is none."""
    row = arms.get(f"{method}-{mode}") or arms.get(method)
    if row is None or row[title][0][0] != row[title][0][0]:
        return ""
    mean, low, high = row[title][0]
    number = metric_info.format_number
    return number(mean) if low != low else f"{number(mean)} [{number(low)}, {number(high)}]"


def _blocks(lines) -> dict[str, list[list[str]]]:
    """{title: rows with the columns that have a value}, the first row with the names."""
    out = {}
    for title in dict.fromkeys(line[0] for line in lines[1:]):
        rows = [line[1:] for line in lines if line[0] in (title, lines[0][0])]
        kept = [i for i in range(len(rows[0])) if i % 2 or any(row[i] for row in rows[1:])]
        out[title] = [[row[i] for i in kept] for row in rows]
    return out


def _text(lines, where) -> str:
    """The tables as Markdown."""
    parts = []
    for title, rows in _blocks(lines).items():
        widths = [max(map(len, column)) for column in zip(*rows)]
        text = [[cell.ljust(width) for cell, width in zip(row, widths)] for row in rows]
        text.insert(1, ["-" * width for width in widths])
        table = "".join(f"| {' | '.join(row)} |\n" for row in text)
        parts.append(f"**{title}**\n\n{table}\n")
    return f"{''.join(parts)}Published: {where}.\n"


def _html(lines, where) -> str:
    parts = ["<h2>Methods by teachers</h2>", html.note(f"{NOTE} Published: {where}.")]
    for title, (head, *rows) in _blocks(lines).items():
        body = "".join(html.table_row(row[0], [escape(c) or "–" for c in row[1:]]) for row in rows)
        table = f"<table>{html.header_row(head)}{body}</table>"
        parts.append(f"<h3>{escape(title)}</h3><div class=wide>{table}</div>")
    return "".join(parts)
