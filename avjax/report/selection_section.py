"""Accuracy of long videos against GFLOPs, by selection of clips: of a run, and of a study.

Reads the arrays "curve/..." of avjax.downstream.skimming_curve.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from avjax.ablation import study as arithmetic
from avjax.report import html, plots
from avjax.runtime import csv_file
from avjax.runtime.metric_info import format_number
from avjax.runtime.regular_files import check_regular
from avjax.runtime.side_files import NPZ_ERRORS

TITLES = {
    "skim": "skimming net, then teacher", "preview": "confidence of the preview, then teacher",
    "uniform": "uniform", "random": "random", "every": "every k-th clip",
    "equal": "uniform at the FLOPs of skim", "dense": "all clips, teacher",
    "teacher": "confidence of the teacher on all clips",
    "skim_only": "skimming net alone, preview of every k-th clip",
    "preview_only": "preview of all clips alone",
}  # fmt: skip
LINES = ("skim", "preview", "uniform", "random", "skim_only")
COLUMNS = {
    "clips": "clips", "gflops": "GFLOPs", "accuracy": "accuracy, %", "map": "mAP, %",
    "hits": "hits, %",
}  # fmt: skip
NOTE = (
    "GFLOPs are per video, all nets and front ends included, a multiplication and an addition "
    "count as two; decoding does not count. Hits: share of the selected clips that are true "
    "moments."
)
Rows = dict[str, dict[str, list[float]]]  # {"skim@4": {"accuracy": a value per seed}}


def make(stages: Mapping[str, str], evaluation: str = "moments") -> Callable[..., str]:
    """Returns a section of `avjax.report.comparison_page`, which also writes selection.csv.

    Args:
      stages: {stage with such an evaluation: title}.
      evaluation: its name.
    """

    def section(folder: Path, rows: Sequence[dict], runs: Sequence, results: Mapping) -> str:
        parts, lines = [], [["stage", "selection", "k", "seeds", *map(str, _columns())]]
        for stage, title in stages.items():
            places = [Path(folder, "runs", run.name, stage, "evals") for run in runs
                      if run.name in results]  # fmt: skip
            found = collect(read(place / f"{evaluation}.npz") for place in places)
            if found:
                lines += [[stage, *line] for line in csv_lines(found)]
                parts.append(f"<h3>{title}</h3>{show(found)}")
        csv_file.write_csv(Path(folder) / "selection.csv", lines)
        return "<h2>Selection of clips</h2>" + ("".join(parts) or html.note("No run is finished."))

    return section


def run_section(folder: Path) -> str:
    """Returns the curves of a run as HTML; "" if it has no such evaluation.

    Args:
      folder: with the arrays of the evaluations, <name>.npz.
    """
    files = sorted(folder.glob("*.npz")) if folder.is_dir() else []
    found = [collect([read(path)]) for path in files]
    return "".join(show(rows) for rows in found if rows)


def read(path: Path) -> dict[str, Any]:
    """Returns the arrays "curve/..." of an evaluation; {} if it has none."""
    try:
        check_regular(path)
        with np.load(path, allow_pickle=False) as file:
            return {k.removeprefix("curve/"): file[k] for k in file if k.startswith("curve/")}
    except (FileNotFoundError, *NPZ_ERRORS):
        return {}  # The gallery names files that cannot be read.


def collect(arrays: Any) -> Rows:
    """Returns the values of all seeds; Args: arrays: results of `read`."""
    out: Rows = {}
    for one in arrays:
        for i, name in enumerate(one.get("selection", ())):
            row = out.setdefault(str(name), {what: [] for what in COLUMNS})
            for what in COLUMNS:
                row[what].append(float(one[what][i]))
    return out


def show(found: Rows) -> str:
    """Returns a plot and a table as HTML."""
    drawing = plots.panel("accuracy (%) against GFLOPs per video", draw(found))
    head = html.header_row(["selection", *COLUMNS.values()])
    lines = []
    for name, row in found.items():
        kind, k = name.split("@")
        title = f"{TITLES.get(kind, kind)}" + f", {k}" * (kind not in ("dense", "preview_only"))
        lines.append(html.table_row(title, [_cell(row[what]) for what in COLUMNS]))
    table = f"<div class=wide><table>{head}{''.join(lines)}</table></div>"
    return f'<div class="panels large">{drawing}</div>{html.note(NOTE)}{table}'


def _cell(values):
    mean, low, high = interval(values)
    if math.isnan(mean):
        return "–"
    text = format_number(mean)
    if math.isnan(low) or low == high:
        return text
    return f"{text} <small>[{format_number(low)}, {format_number(high)}]</small>"


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Returns (mean, low, high) over seeds."""
    return arithmetic.confidence_interval([v for v in values if not math.isnan(v)])


def draw(found: Rows) -> str:
    """Plots accuracy against GFLOPs, a line per selection; returns SVG."""
    with matplotlib.rc_context(plots.STYLE):
        figure, axes = plots.make_axes(6.4)
        axes.set_xlabel("GFLOPs per video")
        axes.set_xscale("log")
        lines, names = [], []
        for kind, color in zip(LINES, plots.color_cycle(len(LINES))):
            rows = [row for name, row in found.items() if name.split("@")[0] == kind]
            points = sorted((interval(r["gflops"])[0], *interval(r["accuracy"])) for r in rows)
            if points:
                x, y, low, high = np.array(points).T
                style = "--" if kind == "skim_only" else "-"
                lines += axes.plot(x, y, style, color=color, marker="o", markersize=3)
                axes.fill_between(x, low, np.minimum(high, 100), color=color, alpha=0.12)
                names.append(TITLES[kind])
        if dense := found.get("dense@1"):
            x, y = interval(dense["gflops"])[0], interval(dense["accuracy"])[0]
            lines += axes.plot(x, y, "D", color=plots.INK, markersize=5)
            names.append(TITLES["dense"])
        plots.legend(axes, lines, names)
        return plots.figure_to_svg(figure)


def _columns():
    return [f"{what}{end}" for what in COLUMNS for end in ("", "_low", "_high")]


def csv_lines(found: Rows) -> list[list]:
    """Returns a line per selection and number of clips."""
    out = []
    for name, row in found.items():
        kind, k = name.split("@")
        values = [x for what in COLUMNS for x in interval(row[what])]
        values = [None if math.isnan(x) else x for x in values]
        out.append([kind, int(k), len(row["accuracy"]), *values])
    return out
