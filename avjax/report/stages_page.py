"""The report of a chain of runs: the results of each stage, with links to their reports."""

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

from avjax.report import html, run_page
from avjax.report.plots import Curve
from avjax.runtime import metric_info


def write(workdir: str | os.PathLike, names: Sequence[str]) -> Path:
    """Writes report.html of a chain and returns its path.

    Args:
      workdir: the folder of the chain.
      names: sub-folders of its stages, in order.
    """
    workdir = Path(workdir)
    curves = {name: run_page.read_metrics(workdir / name / "metrics.csv")[0] for name in names}
    metrics = dict.fromkeys(m for found in curves.values() for m in found if m.startswith("eval/"))
    title = f"{workdir.resolve().name}: a chain of {len(names)} runs"
    lines = [
        html.table_row(
            "steps", [first_and_last(curves[name].get("loss"), steps=True) for name in names]
        ),
        html.table_row(
            "loss, first and last", [first_and_last(curves[name].get("loss")) for name in names]
        ),
        *(
            html.table_row(m, [first_and_last(curves[name].get(m)) for name in names])
            for m in metrics
        ),
    ]
    links = [f'<a href="{escape(name)}/report.html">{escape(name)}</a>' for name in names]
    head = "<tr><th></th>" + "".join(f"<th>{link}</th>" for link in links) + "</tr>"
    page = [
        f"<h1>{escape(title)}</h1>",
        html.note("Each stage is initialized from earlier ones. Of evaluations, the value before "
                  "the first step and the last one."),
        f"<div class=wide><table>{head}{''.join(lines)}</table></div>",
    ]  # fmt: skip
    return html.write_page(workdir / "report.html", title, page)


def first_and_last(curve: Curve | None, steps: bool = False) -> str:
    """Formats the first and last value of a curve, or its last step.

    Args:
      curve: (steps, values); None gives a dash.
      steps: whether to show the last step.
    """
    if curve is None:
        return "–"
    x, y = curve
    if steps:
        return f"{int(x[-1]):,}"
    return (
        metric_info.format_number(y[-1])
        if len(y) == 1
        else f"{metric_info.format_number(y[0])} → {metric_info.format_number(y[-1])}"
    )
