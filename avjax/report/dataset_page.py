"""What the doctor found in a data set, as one page that opens offline."""

from html import escape
from pathlib import Path

from avjax.data.prepare import file_checks, shard_layout
from avjax.data.source import coverage
from avjax.report import html
from avjax.report.headline import duration
from avjax.runtime import metric_info

SHOWN = 12  # Pictures of a finding.
LISTED = 200  # Files of a finding by name; doctor.csv has all.


def write(folder, name, rows, sources, require) -> Path:
    """Writes doctor.html into `folder`; rows as avjax.data.prepare.shard_layout has them."""
    title = f"{name}: file check"
    counts = shard_layout.count_findings(rows)
    page = [
        f"<h1>{escape(title)}</h1>",
        _facts(rows, sources, require), "<h2>Findings</h2>", _table(counts, len(rows), require),
        *(_finding(name, rows) for name in counts if name != "good"),
    ]  # fmt: skip
    return html.save(Path(folder, "doctor.html"), title, page)


def _facts(rows, sources, require):
    seconds = sum(shard_layout.duration_seconds(row.get("info", {})) for row in rows)
    bad = sum(not file_checks.is_usable(row["findings"], require) for row in rows)
    where = (
        "They are listed in quarantine.csv; training directly from the files leaves them out with "
        "--config.data.quarantine=FILE. "
    ) * bool(bad)
    lines = [
        f"{len(rows):,} files, {duration(seconds)}; {bad:,} are not used. {where}"
        f"A usable file has {' and '.join(require)}."
    ]
    lines += [f"{split}: {coverage(source)}." for split, source in sources.items()]
    return "".join(f'<p class="note">{escape(line)}</p>' for line in lines)


def _table(counts, total, require):
    """One line a finding, with a bar of its share."""
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
            f"<td>{metric_info.percent(100 * count / total)}</td><td class=bar-cell>{bar}</td>"
            f"<td>{used}</td>"
            f"<td>{escape(file_checks.FINDINGS[name])}</td></tr>"
        )
    head = html.heading(["finding", "files", "share", "", "in training", "meaning"])
    return f"<table class=stack>{head}{''.join(lines)}</table>"


def _finding(name, rows):
    """Pictures of some of the files with a finding, and the names of many."""
    mine = [row for row in rows if name in row["findings"]]
    shown = [row for row in mine if row.get("thumbnail")]
    step = max(1, len(shown) // SHOWN)
    pictures = "".join(
        f'<figure class="tile"><img alt="" src="data:image/jpeg;base64,{escape(row["thumbnail"])}">'
        f"<figcaption><small>{escape(row['path'])}</small></figcaption></figure>"
        for row in shown[::step][:SHOWN]
    )
    names = "".join(
        f"<tr><td>{escape(row['path'])}</td><td>{escape(row['split'])}</td>"
        f"<td><small>{escape(row['reason'])}</small></td></tr>"
        for row in mine[:LISTED]
    )
    more = f", the first {LISTED} here" if len(mine) > LISTED else ""
    return (
        f'<h2 id="{_anchor(name)}">{escape(name)}</h2>'
        f'<p class="note">{escape(file_checks.FINDINGS[name])}: {len(mine):,} files</p>'
        + (f'<div class="line">{pictures}</div>' if pictures else "")
        + html.folded(f"Names and reasons{more}", f"<table class=stack>{names}</table>")
    )


def _anchor(name):
    return name.replace(" ", "-")
