"""A comparison of methods, or of any arms, as one page that opens offline, and its tables."""

import math
import re
from html import escape
from pathlib import Path

import matplotlib
import numpy as np

from avjax.ablation import study as arithmetic
from avjax.report import ablation_page, ablation_tables, html, plots, run_page
from avjax.runtime import metric_info

# What is shown where a config does not say: title -> pattern of the names of a run's values.
QUANTITIES = {
    "recall@1, %": r"eval/[^/]+/(.*/)?\w2\w/recall@1",
    "recall@10, %": r"eval/[^/]+/(.*/)?\w2\w/recall@10",
    "linear probe, video, %": "eval/[^/]+/linear/(video|fused)/top1",
    "linear probe, audio, %": "eval/[^/]+/linear/audio/top1",
    "linear probe, both, %": "eval/[^/]+/linear/(both|fused)/top1",
    "kNN, both, %": "eval/[^/]+/knn/(both|fused)/top1",
    "sync accuracy, %": "eval/[^/]+/(.*/)?easy/accuracy",
    "loss": "loss",
    "seconds per step": "seconds_per_step",
}


def make(quantities: dict = QUANTITIES):
    """A report for `avjax.ablate`: {title: pattern of the names of a run's values, averaged}.

    A quantity that a run has untrained too is shown beside it, and is bold where the interval
    of the trained nets over seeds lies above that of the untrained ones.  A quantity with % in
    its title lies between 0 and 100, and so does its interval.  One that no run has is left out.
    """

    for title, pattern in quantities.items():
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"quantity {title!r} of a report: {pattern!r}: {error}") from error

    def write(folder, config, arms, runs, planned, results, failures) -> Path:
        folder = Path(folder)
        rows = [gathered(arm, runs, results, quantities) for arm in arms]
        there = [t for t in quantities if not all(math.isnan(row[t][0][0]) for row in rows)]
        ablation_tables.save(folder / "study.csv", lines(rows, there))
        ablation_tables.save(folder / "runs.csv", ablation_tables.runs(runs, results))
        left = {r.name: failures.get(r.name, "not finished") for r in runs}
        left = {name: why for name, why in left.items() if name not in results}
        left |= {r.name: why for r in runs if (why := planned[r.arm.name]["refused"])}
        title = f"{folder.resolve().name}: {config['study']['title']}"
        page = [
            f"<h1>{escape(title)}</h1>", ablation_page.facts(config["study"], rows, runs, results),
            "<h2>Findings</h2>", html.listed(findings(rows, there, len(left))),
            "<h2>Arms</h2>", html.none(NOTES), shown(rows, there), panels(rows, there),
            "<h2>Runs without a result</h2>", ablation_page.missing(left),
            run_page.config_part(config),
        ]  # fmt: skip
        return html.save(folder / "report.html", title, page)

    return write


NOTES = (
    "All arms have the same budget, see above; those in stages, all stages together. Brackets and "
    "bars are 95 % intervals over seeds (Student). Bold: the interval lies above that of the "
    "untrained nets, whose mean follows in parentheses."
)


def findings(rows, titles, unfinished: int) -> list[str]:
    """Sentences on the first of the quantities, and what the numbers do not say."""
    found = [row for row in rows if titles and not math.isnan(row[titles[0]][0][0])]
    if not found:
        return ["Nothing can be said yet: no run has finished."]
    title = titles[0].removesuffix(", %")
    best = max(found, key=lambda row: row[titles[0]][0][0])
    out = [f"{title}: {best['arm'].name} has the highest mean, {said(best, titles[0])}."]
    below = [r for r in found if r[titles[0]][0][2] < best[titles[0]][0][1]]
    alike = [r for r in found if r is not best and r not in below]
    if below:
        listed = ", ".join(f"{r['arm'].name} ({said(r, titles[0])})" for r in below)
        out.append(f"Below it, by their intervals: {listed}.")
    if alike:
        listed = ", ".join(f"{r['arm'].name} ({said(r, titles[0])})" for r in alike)
        out.append(f"Cannot be told from it at this number of seeds: {listed}.")
    fewest = min(row["seeds"] for row in found)
    if fewest < 2:
        out.append("Of a single seed no interval is known: no difference is decided.")
    if len(found) > 2:
        out.append(f"Among {len(found)} arms some pairs differ by chance.")
    if unfinished:
        out.append(f"{unfinished} runs are missing, failed or refused, see below.")
    return out


def said(row, title) -> str:
    mean, low, high = row[title][0]
    end = "" if math.isnan(low) else f" [{metric_info.number(low)}, {metric_info.number(high)}]"
    return f"{metric_info.number(mean)}{end}"


def gathered(arm, runs, results, quantities) -> dict:
    """{"arm", "seeds", title: ((mean, low, high), the same untrained)} over finished seeds."""
    found = [results[r.name]["values"] for r in runs if r.arm == arm and r.rate is None
             and r.name in results]  # fmt: skip
    row = {"arm": arm, "seeds": len(found)}
    for title, pattern in quantities.items():
        pairs = [tuple(mean(values, start + pattern) for start in ("", "untrained/"))
                 for values in found]  # fmt: skip
        trained, untrained = (
            arithmetic.interval([x for x in side if not math.isnan(x)], *limits(title))
            for side in (zip(*pairs) if pairs else ((), ()))
        )
        row[title] = trained, untrained
    return row


def limits(title: str) -> tuple:
    """What a quantity cannot leave."""
    return (0, 100) if "%" in title else (0,) if "seconds" in title else ()


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
        out.append([ablation_tables.text(cell) for cell in cells])
    return out


def better(trained, untrained) -> bool:
    """Whether the interval of one lies above that of the other; a lone seed decides nothing."""
    return trained[1] > untrained[2]


def shown(rows, quantities) -> str:
    def cell(trained, untrained):
        if math.isnan(trained[0]):
            return "–"
        said = metric_info.number(trained[0])
        said = f"<b>{said}</b>" if better(trained, untrained) else said
        if not math.isnan(trained[1]):
            low, high = (metric_info.number(end) for end in trained[1:])
            said += f" <small>[{low}, {high}]</small>"
        return said if math.isnan(untrained[0]) else f"{said} ({metric_info.number(untrained[0])})"

    body = [
        html.row(row["arm"].strategy, [f"{row['seeds']}", *(cell(*row[t]) for t in quantities)])
        for row in rows
    ]
    head = html.heading(["arm", "seeds", *quantities])
    return f"<div class=wide><table>{head}{''.join(body)}</table></div>"


def panels(rows, quantities) -> str:
    """A panel a quantity: the methods' means and intervals, a line at the untrained mean."""
    out = []
    for title in quantities:
        drawn = [row for row in rows if not math.isnan(row[title][0][0])]
        if drawn:
            out.append(plots.panel(title, draw(drawn, title)))
    return f'<div class="panels middle">{"".join(out)}</div>'


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
