"""The report of a comparison of methods or other arms: one offline page and its tables."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

import matplotlib
import numpy as np

from avjax.ablation import study as arithmetic
from avjax.ablation.study import Arm, Run
from avjax.report import ablation_page, ablation_tables, html, plots, run_page
from avjax.runtime import csv_file, metric_info

# Default quantities: title -> pattern of the names of a run's values.
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


def make(
    quantities: dict = QUANTITIES, sections: Sequence[Callable[..., str]] = ()
) -> Callable[..., Path]:
    """Returns a report function for `avjax.ablate`.

    A quantity that the untrained nets have too is shown beside theirs, in bold if its interval
    over seeds is above theirs.  A quantity that no run has is omitted.

    Args:
      quantities: {title: pattern of the names of a run's values, which are averaged}.  With "%"
        in the title, intervals are clipped to 0 and 100.
      sections: of the page, above the table of arms: (folder, rows as of `aggregate_arm`, runs,
        results) -> HTML.

    Raises:
      ValueError: a pattern is not a regular expression.
    """

    for title, pattern in quantities.items():
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"quantity {title!r} of a report: {pattern!r}: {error}") from error

    def write(folder, config, arms, runs, planned, results, failures) -> Path:
        folder = Path(folder)
        rows = [aggregate_arm(arm, runs, results, quantities) for arm in arms]
        available = [t for t in quantities if not all(math.isnan(row[t][0][0]) for row in rows)]
        csv_file.write_csv(folder / "study.csv", csv_lines(rows, available))
        csv_file.write_csv(folder / "runs.csv", ablation_tables.run_lines(runs, results))
        remaining = {r.name: failures.get(r.name, "not finished") for r in runs}
        remaining = {name: failure for name, failure in remaining.items() if name not in results}
        remaining |= {r.name: reason for r in runs if (reason := planned[r.arm.name]["refused"])}
        title = f"{folder.resolve().name}: {config['study']['title']}"
        page = [
            f"<h1>{escape(title)}</h1>",
            ablation_page.summary_table(config["study"], rows, runs, results),
            *(each(folder, rows, runs, results) for each in sections),
            "<h2>Findings</h2>", html.bullet_list(findings(rows, available, len(remaining))),
            "<h2>Arms</h2>", html.note(NOTES), table_html(rows, available), panels(rows, available),
            "<h2>Runs without a result</h2>", ablation_page.missing_runs(remaining),
            run_page.config_section(config),
        ]  # fmt: skip
        return html.write_page(folder / "report.html", title, page)

    return write


NOTES = (
    "All arms have the same budget, see above; with stages, all stages together. Brackets and "
    "bars are Student's 95 % intervals over seeds. Bold: the interval is above that of the "
    "untrained nets, whose mean follows in parentheses."
)


def findings(rows: Sequence[dict], titles: Sequence[str], unfinished: int) -> list[str]:
    """Returns an auto-generated summary of the first quantity with caveats, as sentences."""
    found = [row for row in rows if titles and not math.isnan(row[titles[0]][0][0])]
    if not found:
        return ["No findings yet: no run is finished."]
    title = titles[0].removesuffix(", %")
    best = max(found, key=lambda row: row[titles[0]][0][0])
    out = [f"{title}: {best['arm'].name} has the highest mean, {format_value(best, titles[0])}."]
    below = [r for r in found if r[titles[0]][0][2] < best[titles[0]][0][1]]
    alike = [r for r in found if r is not best and r not in below]
    if below:
        listed = ", ".join(f"{r['arm'].name} ({format_value(r, titles[0])})" for r in below)
        out.append(f"Below it, by their intervals: {listed}.")
    if alike:
        listed = ", ".join(f"{r['arm'].name} ({format_value(r, titles[0])})" for r in alike)
        out.append(f"Not distinguishable from it with this number of seeds: {listed}.")
    fewest = min(row["seeds"] for row in found)
    if fewest < 2:
        out.append("With a single seed there are no intervals: no difference is decided.")
    if len(found) > 2:
        out.append(f"Among {len(found)} arms some pairs differ by chance.")
    if unfinished:
        out.append(f"{unfinished} runs are missing, failed or refused, see below.")
    return out


def format_value(row: dict, title: str) -> str:
    """Formats the mean and interval of a quantity."""
    mean, low, high = row[title][0]
    end = (
        ""
        if math.isnan(low)
        else f" [{metric_info.format_number(low)}, {metric_info.format_number(high)}]"
    )
    return f"{metric_info.format_number(mean)}{end}"


def aggregate_arm(
    arm: Arm, runs: Sequence[Run], results: Mapping[str, dict], quantities: Mapping[str, str]
) -> dict:
    """Returns {"arm", "seeds", title: ((mean, low, high), the same of untrained nets)}."""
    found = [results[r.name]["values"] for r in runs if r.arm == arm and r.learning_rate is None
             and r.name in results]  # fmt: skip
    row = {"arm": arm, "seeds": len(found)}
    for title, pattern in quantities.items():
        pairs = [tuple(mean_of_matching(values, start + pattern) for start in ("", "untrained/"))
                 for values in found]  # fmt: skip
        trained, untrained = (
            arithmetic.confidence_interval(
                [x for x in side if not math.isnan(x)], *value_limits(title)
            )
            for side in (zip(*pairs) if pairs else ((), ()))
        )
        row[title] = trained, untrained
    return row


def value_limits(title: str) -> tuple:
    """Returns (minimum, maximum) of a quantity, as far as known."""
    return (0, 100) if "%" in title else (0,) if "seconds" in title else ()


def mean_of_matching(values: dict, pattern: str) -> float:
    """Returns the mean of the values whose names match; NaN if none does."""
    found = [value for name, value in values.items() if re.fullmatch(pattern, name)]
    return float(np.mean(found)) if found else math.nan


def csv_lines(rows: Sequence[dict], titles: Sequence[str]) -> list[list]:
    """Returns study.csv: one line per arm."""
    ends = ("", " low", " high", " untrained", " untrained low", " untrained high")
    out = [["arm", "method", "seeds", *(f"{title}{end}" for title in titles for end in ends)]]
    for row in rows:
        cells = [row["arm"].name, row["arm"].strategy, row["seeds"]]
        cells += [v for title in titles for side in row[title] for v in side]
        out.append([ablation_tables.format_cell(cell) for cell in cells])
    return out


def significantly_better(trained: Sequence[float], untrained: Sequence[float]) -> bool:
    """Whether one interval is above the other; with one seed nothing is decided."""
    return trained[1] > untrained[2]


def table_html(rows: Sequence[dict], quantities: Sequence[str]) -> str:
    """Returns the table of arms as HTML, trained beside untrained."""

    def cell(trained, untrained):
        if math.isnan(trained[0]):
            return "–"
        text = metric_info.format_number(trained[0])
        text = f"<b>{text}</b>" if significantly_better(trained, untrained) else text
        if not math.isnan(trained[1]):
            low, high = (metric_info.format_number(end) for end in trained[1:])
            text += f" <small>[{low}, {high}]</small>"
        return (
            text
            if math.isnan(untrained[0])
            else f"{text} ({metric_info.format_number(untrained[0])})"
        )

    body = [
        html.table_row(
            row["arm"].strategy, [f"{row['seeds']}", *(cell(*row[t]) for t in quantities)]
        )
        for row in rows
    ]
    head = html.header_row(["arm", "seeds", *quantities])
    return f"<div class=wide><table>{head}{''.join(body)}</table></div>"


def panels(rows: Sequence[dict], quantities: Sequence[str]) -> str:
    """Returns one panel per quantity: means, intervals, and a mark at the untrained mean."""
    out = []
    for title in quantities:
        drawn = [row for row in rows if not math.isnan(row[title][0][0])]
        if drawn:
            out.append(plots.panel(title, draw_panel(drawn, title)))
    return f'<div class="panels middle">{"".join(out)}</div>'


def draw_panel(rows: Sequence[dict], title: str) -> str:
    """Plots one quantity of all arms with intervals; returns SVG."""
    with matplotlib.rc_context(plots.STYLE):
        figure, axes = plots.make_axes(3.8)
        figure.set_figheight(0.5 + 0.2 * len(rows))
        axes.set_xlabel("")
        (color,) = plots.color_cycle(1)
        for y, row in enumerate(reversed(rows)):
            (middle, low, high), (before, *_) = row[title]
            bars = None if math.isnan(low) else [[middle - low], [high - middle]]
            axes.errorbar(
                middle, y, xerr=bars, color=color, marker="o", markersize=3, elinewidth=0.8,
                capsize=2,
            )  # fmt: skip
            axes.plot(before, y, color="#888888", marker="|", markersize=7, linestyle="none")
        axes.set_yticks(range(len(rows)), [row["arm"].strategy for row in reversed(rows)])
        return plots.figure_to_svg(figure)
