"""The part of a study's page about scale: claims, and plots against K, B and N."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

import matplotlib

from avjax.report import html, plots
from avjax.report.scale_claims import evaluate_claims
from avjax.report.scale_points import Point, interval, points, select
from avjax.runtime import csv_file

NOTE = (
    "Each claim is tested on the intervals below, over all arms: “holds” if all its "
    "comparisons do, “fails” if one does, else “open”."
)


def make(
    quantities: Mapping[str, str], claim: str, cosines: Mapping[int, str]
) -> Callable[..., str]:
    """Returns a section of `avjax.report.comparison_page`; also writes claims.csv.

    Args:
      quantities: {title: pattern of a run's values} that are plotted.
      claim: the title by which the claims are tested.
      cosines: {K: pattern}, see `scale_claims.gradient_converges`.
    """

    def section(folder, rows, runs, results) -> str:
        titles = {k: f"cosine of gradients, K={k}" for k in cosines}
        found = points(runs, results, {**quantities, **{titles[k]: p for k, p in cosines.items()}})
        verdicts = evaluate_claims(found, claim, titles)
        csv_file.write_csv(
            Path(folder) / "claims.csv", [["claim", "verdict", "numbers"], *map(list, verdicts)]
        )
        body = "".join(
            html.table_row(v.claim, [f"<b>{v.verdict}</b>", escape(v.numbers)]) for v in verdicts
        )
        table = f"<table>{html.header_row(['claim', 'verdict', 'numbers'])}{body}</table>"
        parts = ["<h2>Claims</h2>", html.note(NOTE), f"<div class=wide>{table}</div>"]
        return "".join(parts) + "".join(_plots(found, title) for title in quantities)

    return section


def _plots(found: Sequence[Point], title: str) -> str:
    """Plots of a quantity: against K, against B at each budget, and the best B against N."""
    panels = []
    at = select(found, title, budget="examples")
    most = max((p.records for p in at), key=[p.records for p in at].count, default=0)
    at = [p for p in at if p.records == most]
    for batch in sorted({p.batch for p in at}):
        lines = _lines([p for p in at if p.batch == batch], title, "negatives")
        if any(len(line) > 1 for line in lines.values()):
            drawn = _draw({name: x for name, x in lines.items() if len(x) > 1}, "K")
            panels.append(plots.panel(f"{title}, against K at B={batch}, N={most}", drawn))
    for budget in ("examples", "steps", "flops"):
        same = [p for p in select(found, title, budget=budget) if p.records == most]
        whole = [p for p in same if p.negatives == p.batch - 1]
        lines = {n: x for n, x in _lines(whole, title, "batch").items() if len(x) > 1}
        if lines:
            panels.append(plots.panel(f"{title}, against B, equal {budget}", _draw(lines, "B")))
    own = [
        p
        for p in select(found, title, source="in_batch", budget="examples")
        if p.negatives == p.batch - 1
    ]
    by_size = {
        f"N={n}": [p for p in own if p.records == n] for n in sorted({p.records for p in own})
    }
    if len(by_size) > 1:
        lines = {name: _lines(x, title, "batch")["in_batch"] for name, x in by_size.items()}
        panels.append(plots.panel(f"{title}, against B by N, equal epochs", _draw(lines, "B")))
        best = [(max(x, key=lambda p: interval(p, title)[0])) for x in by_size.values()]
        peak = {"best B": [(p.records, float(p.batch), math.nan, math.nan) for p in best]}
        panels.append(plots.panel(f"best B against N, by {title}", _draw(peak, "N", log=True)))
    return f"<h2>{escape(title)}</h2><div class=panels>{''.join(panels)}</div>"


def _lines(found: Sequence[Point], title: str, along: str) -> dict[str, list[tuple]]:
    """{source: [(x, mean, low, high)]} by x."""
    out: dict[str, list[tuple]] = {}
    for p in sorted(found, key=lambda p: getattr(p, along)):
        out.setdefault(p.source, []).append((getattr(p, along), *interval(p, title)))
    return out


def _draw(lines: Mapping[str, Sequence[tuple]], label: str, log: bool = False) -> str:
    """Plots means with intervals over a logarithmic axis; returns SVG."""
    with matplotlib.rc_context(plots.STYLE):
        figure, axes = plots.make_axes(3.8)
        axes.set_xscale("log", base=2)
        axes.set_xlabel(label)
        if log:
            axes.set_yscale("log", base=2)
        drawn = []
        for color, line in zip(plots.color_cycle(len(lines)), lines.values()):
            x, mean, low, high = zip(*line)
            bars = [
                [0.0 if math.isnan(e) else abs(m - e) for m, e in zip(mean, ends)]
                for ends in (low, high)
            ]
            drawn.append(
                axes.errorbar(
                    x,
                    mean,
                    yerr=bars,
                    color=color,
                    marker="o",
                    markersize=3,
                    linewidth=1.2,
                    elinewidth=0.8,
                    capsize=2,
                )  # fmt: skip
            )
        plots.legend(axes, drawn, list(lines))
        return plots.figure_to_svg(figure)
