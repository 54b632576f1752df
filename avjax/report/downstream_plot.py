"""Plots of a downstream evaluation: models and publications side by side."""

import math

import matplotlib

from avjax.report import plots
from avjax.report.confusion_matrix import shorten
from avjax.report.downstream_results import Results
from avjax.report.downstream_summary import describe, summarize
from avjax.report.downstream_text import model_labels
from avjax.runtime.metric_info import format_number

PUBLISHED_COLOR = "#888888"


def panels(results: Results) -> str:
    """Returns one plot per suite: means with intervals, and published values, as HTML."""
    out = []
    for suite in results.suites.values():
        drawing = draw_panel(results, suite.key)
        if drawing:
            title = f"{suite.title}, {describe(suite.headline).title}"
            out.append(plots.panel(title, drawing, describe(suite.headline).meaning))
    return f'<div class="panels middle">{"".join(out)}</div>'


def draw_panel(results: Results, suite: str) -> str:
    """Plots the headline metric of all models with intervals; "" if there is nothing to compare.

    Args:
      results: of the folder.
      suite: key.

    Returns:
      SVG.
    """
    metric, labels = results.suites[suite].headline, model_labels(results)
    means = [(labels[m], summarize(results, m, suite, metric)) for m in results.models]
    found = [(name, s) for name, s in means if s is not None and math.isfinite(s.mean)]
    published = [(p.model, p.value) for p in results.suites[suite].published if p.metric == metric]
    if not found or len(found) + len(published) < 2:
        return ""
    with matplotlib.rc_context(plots.STYLE):
        figure, axes = plots.make_axes(3.8)
        count = len(found) + len(published)
        figure.set_figheight(0.5 + 0.22 * count)
        axes.set_xlabel("")
        (color,) = plots.color_cycle(1)
        for y, (_, summary) in enumerate(found):
            bars = None
            if math.isfinite(summary.low):
                bars = [[summary.mean - summary.low], [summary.high - summary.mean]]
            axes.errorbar(
                summary.mean, count - 1 - y, xerr=bars, color=color, marker="o", markersize=3,
                elinewidth=0.8, capsize=2,
            )  # fmt: skip
        for y, (_, value) in enumerate(published, len(found)):
            axes.plot(value, count - 1 - y, color=PUBLISHED_COLOR, marker="D", markersize=4)
        names = [shorten(name) for name, _ in [*found, *published]]
        axes.set_ylim(-0.6, count - 0.4)
        axes.set_yticks(range(count - 1, -1, -1), names)
        axes.xaxis.set_major_formatter(lambda value, _: format_number(value))
        return plots.figure_to_svg(figure)
