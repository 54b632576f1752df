"""The file checks of a data set as one offline page."""

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from avjax.data.prepare import file_checks, reports
from avjax.data.source import Source, coverage
from avjax.report import html
from avjax.report.headline import format_minutes
from avjax.runtime import metric_info

NUM_SHOWN = 12  # Thumbnails per finding.
NUM_LISTED = 200  # File names per finding; doctor.csv has all.


def write(
    folder: str | os.PathLike,
    name: str,
    rows: Sequence[dict],
    sources: Mapping[str, Source],
    require: Sequence[str],
) -> Path:
    """Writes doctor.html into `folder` and returns its path.

    Args:
      folder: of the prepared data set.
      name: of the data set.
      rows: of the files, as avjax.data.prepare.shard_layout has them.
      sources: {split: Source}.
      require: modalities that a file must have.
    """
    title = f"{name}: file check"
    counts = reports.count_findings(rows)
    page = [
        f"<h1>{escape(title)}</h1>",
        _summary(rows, sources, require), "<h2>Findings</h2>", _table(counts, len(rows), require),
        *(_finding(name, rows) for name in counts if name != "good"),
    ]  # fmt: skip
    return html.write_page(Path(folder, "doctor.html"), title, page)


def _summary(rows, sources, require):
    seconds = sum(reports.duration_seconds(row.get("info", {})) for row in rows)
    bad = sum(not file_checks.is_usable(row["findings"], require) for row in rows)
    where = (
        "They are listed in quarantine.csv; direct training from the files excludes them with "
        "--config.data.quarantine=FILE. "
    ) * bool(bad)
    lines = [
        f"{len(rows):,} files, {format_minutes(seconds)}; {bad:,} are not used. {where}"
        f"A usable file has {' and '.join(require)}."
    ]
    lines += [f"{split}: {coverage(source)}." for split, source in sources.items()]
    return "".join(f'<p class="note">{escape(line)}</p>' for line in lines)


def _table(counts, total, require):
    """Returns a table with one row and bar per finding."""
    lines = []
    for name, count in counts.items():
        width = max(0.5, 100 * count / total)
        bar = (
            f'<svg width="160" height="10" role="img" aria-label="{count / total:.1%}">'
            f'<rect width="{1.6 * width:.1f}" height="10" rx="2" fill="var(--query)"/></svg>'
        )
        used = "used" if file_checks.is_usable([name], require) else "not used"
        lines.append(
            f'<tr><td><a href="#{_anchor(name)}">{escape(name)}</a></td><td>{count:,}</td>'
            f"<td>{metric_info.format_percent(100 * count / total)}</td>"
            f"<td class=bar-cell>{bar}</td>"
            f"<td>{used}</td>"
            f"<td>{escape(file_checks.FINDINGS[name])}</td></tr>"
        )
    head = html.header_row(["finding", "files", "share", "", "in training", "meaning"])
    return f"<table class=stack>{head}{''.join(lines)}</table>"


def _finding(name, rows):
    """Returns thumbnails of some of the files with a finding, and names of more."""
    matching = [row for row in rows if name in row["findings"]]
    shown = [row for row in matching if row.get("thumbnail")]
    step = max(1, len(shown) // NUM_SHOWN)
    images = "".join(
        f'<figure class="tile"><img alt="" src="data:image/jpeg;base64,{escape(row["thumbnail"])}">'
        f"<figcaption><small>{escape(row['path'])}</small></figcaption></figure>"
        for row in shown[::step][:NUM_SHOWN]
    )
    names = "".join(
        f"<tr><td>{escape(row['path'])}</td><td>{escape(row['split'])}</td>"
        f"<td><small>{escape(row['reason'])}</small></td></tr>"
        for row in matching[:NUM_LISTED]
    )
    more = f", the first {NUM_LISTED} here" if len(matching) > NUM_LISTED else ""
    return (
        f'<h2 id="{_anchor(name)}">{escape(name)}</h2>'
        f'<p class="note">{escape(file_checks.FINDINGS[name])}: {len(matching):,} files</p>'
        + (f'<div class="line">{images}</div>' if images else "")
        + html.collapsible(f"Names and reasons{more}", f"<table class=stack>{names}</table>")
    )


def _anchor(name):
    return name.replace(" ", "-")
