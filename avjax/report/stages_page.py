"""A chain of runs as one page: what each stage reached, and the way to its own report."""

from html import escape
from pathlib import Path

from avjax.report import html, run_page
from avjax.runtime import metric_info


def write(workdir, names) -> Path:
    """Writes `report.html` of a chain whose stages, in order, have the folders `names`."""
    workdir = Path(workdir)
    curves = {name: run_page.read_metrics(workdir / name / "metrics.csv")[0] for name in names}
    metrics = dict.fromkeys(m for found in curves.values() for m in found if m.startswith("eval/"))
    title = f"{workdir.resolve().name}: a chain of {len(names)} runs"
    lines = [
        html.row("steps", [ends(curves[name].get("loss"), steps=True) for name in names]),
        html.row("loss, first and last", [ends(curves[name].get("loss")) for name in names]),
        *(html.row(m, [ends(curves[name].get(m)) for name in names]) for m in metrics),
    ]
    links = [f'<a href="{escape(name)}/report.html">{escape(name)}</a>' for name in names]
    head = "<tr><th></th>" + "".join(f"<th>{link}</th>" for link in links) + "</tr>"
    page = [
        f"<h1>{escape(title)}</h1>",
        html.none("Each stage begins with what the earlier ones have learned. Of evaluations, the "
                   "value before its first step, and its last."),
        f"<div class=wide><table>{head}{''.join(lines)}</table></div>",
    ]  # fmt: skip
    return html.save(workdir / "report.html", title, page)


def ends(curve, steps=False) -> str:
    """The first and the last value of a curve; or the last of its steps."""
    if curve is None:
        return "–"
    x, y = curve
    if steps:
        return f"{int(x[-1]):,}"
    return (
        metric_info.number(y[-1])
        if len(y) == 1
        else f"{metric_info.number(y[0])} → {metric_info.number(y[-1])}"
    )
