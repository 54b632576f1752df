"""A comparison of methods as one page that opens offline, and its tables."""

import math
import re
from html import escape
from pathlib import Path

import matplotlib
import numpy as np

from avjax import study as arithmetic
from avjax.atomic import write_atomic
from avjax.report import html, plots, study, table


def make(quantities: dict):
    """A report for `avjax.ablate`: {title: pattern of the names of a run's values, averaged}.

    A quantity that a run has untrained too is shown beside it, and is bold where the interval
    of the trained nets over seeds lies above that of the untrained ones.
    """

    def write(folder, config, arms, runs, planned, results, failures) -> Path:
        folder = Path(folder)
        rows = [gathered(arm, runs, results, quantities) for arm in arms]
        table.save(folder / "study.csv", lines(rows, quantities))
        table.save(folder / "runs.csv", table.runs(runs, results))
        left = {r.name: failures.get(r.name, "not finished") for r in runs}
        left = {name: why for name, why in left.items() if name not in results}
        title = f"{folder.resolve().name}: methods compared"
        page = [
            html.HEAD.replace("TITLE", escape(title)), f"<h1>{escape(title)}</h1>",
            study.facts(config["study"], rows, runs, results), NOTES,
            "<h2>Methods</h2>", shown(rows, quantities),
            panels(rows, quantities),
            "<h2>Runs without a result</h2>", study.missing(left),
            html.config_part(config), "</body></html>\n",
        ]  # fmt: skip
        path = folder / "report.html"
        write_atomic(path, "\n".join(page))
        return path

    return write


NOTES = html.none(
    "All methods have seen as many clips in training; those in stages, all stages together. "
    "Brackets and bars are 95 % intervals over seeds (Student). Bold: the interval lies above "
    "that of the untrained nets, whose mean follows in parentheses."
)


def gathered(arm, runs, results, quantities) -> dict:
    """{"arm", "seeds", title: ((mean, low, high), the same untrained)} over finished seeds."""
    found = [results[r.name]["values"] for r in runs if r.arm == arm and r.rate is None
             and r.name in results]  # fmt: skip
    row = {"arm": arm, "seeds": len(found)}
    for title, pattern in quantities.items():
        pairs = [tuple(mean(values, start + pattern) for start in ("", "untrained/"))
                 for values in found]  # fmt: skip
        trained, untrained = (
            arithmetic.interval([x for x in side if not math.isnan(x)])
            for side in (zip(*pairs) if pairs else ((), ()))
        )
        row[title] = trained, untrained
    return row


def mean(values: dict, pattern: str) -> float:
    """The mean of the values whose names match; NaN where none does."""
    found = [value for name, value in values.items() if re.fullmatch(pattern, name)]
    return float(np.mean(found)) if found else math.nan


def lines(rows, quantities) -> list[list]:
    """study.csv: a line a method."""
    ends = ("", " low", " high", " untrained", " untrained low", " untrained high")
    out = [["arm", "method", "seeds", *(f"{title}{end}" for title in quantities for end in ends)]]
    for row in rows:
        cells = [row["arm"].name, row["arm"].strategy, row["seeds"]]
        cells += [v for title in quantities for side in row[title] for v in side]
        out.append([table.text(cell) for cell in cells])
    return out


def better(trained, untrained) -> bool:
    """Whether the interval of one lies above that of the other; a lone seed decides nothing."""
    return trained[1] > untrained[2]


def shown(rows, quantities) -> str:
    def cell(trained, untrained):
        if math.isnan(trained[0]):
            return "–"
        said = html.number(trained[0])
        said = f"<b>{said}</b>" if better(trained, untrained) else said
        if not math.isnan(trained[1]):
            said += f" <small>[{html.number(trained[1])}, {html.number(trained[2])}]</small>"
        return said if math.isnan(untrained[0]) else f"{said} ({html.number(untrained[0])})"

    body = [
        html.row(row["arm"].strategy, [f"{row['seeds']}", *(cell(*row[t]) for t in quantities)])
        for row in rows
    ]
    head = html.heading(["method", "seeds", *quantities])
    return f"<div class=wide><table>{head}{''.join(body)}</table></div>"


def panels(rows, quantities) -> str:
    """A panel a quantity: the methods' means and intervals, a line at the untrained mean."""
    out = []
    for title in quantities:
        drawn = [row for row in rows if not math.isnan(row[title][0][0])]
        if drawn:
            out.append(plots.panel(title, draw(drawn, title)))
    return f"<div class=panels>{''.join(out)}</div>"


def draw(rows, title) -> str:
    with matplotlib.rc_context(plots.STYLE):
        figure, axes = plots.canvas(3.8)
        figure.set_figheight(0.5 + 0.2 * len(rows))
        axes.set_xlabel("")
        (color,) = plots.cycle(1)
        for y, row in enumerate(reversed(rows)):
            (middle, low, high), (before, *_) = row[title]
            bars = None if math.isnan(low) else [[middle - low], [high - middle]]
            axes.errorbar(
                middle, y, xerr=bars, color=color, marker="o", markersize=3, elinewidth=0.8,
                capsize=2,
            )  # fmt: skip
            axes.plot(before, y, color="#888888", marker="|", markersize=7, linestyle="none")
        axes.set_yticks(range(len(rows)), [row["arm"].strategy for row in reversed(rows)])
        return plots.svg(figure)
