"""Plots of a run as SVG for pages in dark or light mode."""

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from avjax.report.html import tooltip
from avjax.runtime import metric_info

INK = "#0a0b0c"  # Placeholder of the page's text color.
COLORS = ("#2f81f7", "#e8702a", "#2da44e", "#a371f7", "#12908e", "#d6409f", "#8d7b00", "#e5484d")
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # Text stays text: it takes the page's font and can be searched.
    "svg.hashsalt": "avjax",  # The same run gives the same bytes.
    "text.parse_math": False,  # Names may contain dollar signs.
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.limits": (-4, 5),
    "axes.titlesize": 9,
} | dict.fromkeys(
    ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
)

MIN_POINTS = 3  # Points of a curve: shorter ones are in the table only.

Curve = tuple[np.ndarray, np.ndarray]  # (steps [N], values [N])


def training_panels(curves: dict[str, Curve]) -> str:
    """Returns panels as HTML: one for all losses, one per other training metric."""
    curves = {n: to_percent(n, c) for n, c in curves.items() if len(c[0]) >= MIN_POINTS}
    losses = {n: c for n, c in curves.items() if n == "loss" or n.startswith("loss/")}
    large = small = ""
    if losses:
        titles = {metric_info.describe(n).title: c for n, c in losses.items()}
        large = panel(
            "loss", training_plot(titles, width=6.4), metric_info.describe("loss").meaning
        )
    for name, curve in curves.items():
        if name not in losses:
            metric = metric_info.describe(name)
            caption = metric.title + (", %" if metric.scale else "")
            small += panel(
                caption, training_plot({name: curve}, 3.4, not metric.scale), metric.meaning
            )
    return f'<div class="panels large">{large}</div><div class=panels>{small}</div>'


def evaluation_panels(curves: dict[str, Curve], label: dict | None = None) -> str:
    """Returns panels as HTML, one per kind of metric with a line per modality; "" if none.

    Args:
      curves: {name: (steps, values)} of a suite.
      label: of the suite, see `metric_records.labels_by_group`, for the chance level.
    """
    panels = {}
    for name, curve in curves.items():
        metric = metric_info.describe(name)
        if len(curve[0]) >= MIN_POINTS and not metric.counts:
            kind, _, which = metric.title.partition(", ")
            panels.setdefault(kind, {})[which or kind] = name
    parts = []
    for kind, lines in panels.items():
        names = list(lines.values())
        metric = metric_info.describe(names[0])
        guess = {metric_info.chance_level(name, curves, label) for name in names}
        guess = guess.pop() if len(guess) == 1 else None
        drawn = {which: to_percent(n, curves[n]) for which, n in lines.items()}
        if all((y == y[0]).all() for _, y in drawn.values()):
            continue  # Constant curves are in the table only.
        drawing = evaluation_plot(drawn, guess and guess * (metric.scale or 1))
        parts.append(panel(kind + (", %" if metric.scale else ""), drawing, metric.meaning))
    return f"<div class=panels>{''.join(parts)}</div>" if parts else ""


def to_percent(name: str, curve: Curve) -> Curve:
    """Returns a curve in percent if its metric is a fraction."""
    return curve[0], curve[1] * (metric_info.describe(name).scale or 1)


def panel(caption: str, drawing: str, meaning: str = "") -> str:
    """Returns a plot with its caption as HTML.

    Args:
      caption: text, escaped here.
      drawing: SVG.
      meaning: tooltip of the caption.
    """
    title = tooltip(caption, meaning)
    return f"<figure class=panel><figcaption>{title}</figcaption>{drawing}</figure>"


def training_plot(curves: dict[str, Curve], width: float, log: bool = True) -> str:
    """Plots training curves: faint values and their running mean.

    Args:
      curves: {label: curve}.
      width: in inches.
      log: whether the axis may be logarithmic.

    Returns:
      SVG.
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = make_axes(width)
        lines = []
        for color, (x, y) in zip(color_cycle(len(curves)), curves.values()):
            x, y = downsample(x, y)
            axes.plot(x, y, color=color, alpha=0.3, linewidth=0.8)
            lines += axes.plot(x, smooth(y), color=color, linewidth=1.7)
        if log and needs_log_axis(curves):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        legend(axes, lines, list(curves))
        return figure_to_svg(figure)


def evaluation_plot(
    curves: dict[str, Curve], chance: float | None = None, width: float = 3.4
) -> str:
    """Plots curves with few points, such as those of evaluations.

    Args:
      curves: {label: curve}.
      chance: the chance level, shown as a line; None for none.
      width: in inches.

    Returns:
      SVG.
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = make_axes(width)
        lines, names = [], list(curves)
        for color, (x, y) in zip(color_cycle(len(curves)), curves.values()):
            lines += axes.plot(x, y, color=color, linewidth=1.5, marker="o", markersize=3)
        if chance is not None:
            lines.append(axes.axhline(chance, color=INK, linewidth=1, linestyle=":"))
            names.append("chance")
        legend(axes, lines, names)
        return figure_to_svg(figure)


def make_axes(width: float) -> tuple[Figure, Axes]:
    """Makes a figure with one plot over steps.

    Args:
      width: in inches.
    """
    figure = Figure(figsize=(width, 0.62 * width), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(color=INK, alpha=0.12, linewidth=0.6)
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 2.5, 5, 10]))
    return figure, axes


def color_cycle(count: int) -> list[str]:
    """Returns so many colors, repeated if necessary."""
    return [COLORS[i % len(COLORS)] for i in range(count)]


def legend(axes: Axes, lines: Sequence, names: Sequence[str]) -> None:
    """Adds a legend if there are two lines or more.

    Args:
      axes: the plot.
      lines: of the plot.
      names: their labels.
    """
    if len(lines) > 1:
        axes.legend(lines, names, frameon=False, fontsize=8, loc="best")


def needs_log_axis(curves: dict[str, Curve]) -> bool:
    """Whether the values need a logarithmic axis: all positive, and over more than a decade."""
    values = np.concatenate([y[np.isfinite(y)] for _, y in curves.values()])
    return len(values) > 0 and values.min() > 0 and values.max() > 10 * values.min()


def downsample(x: np.ndarray, y: np.ndarray, points: int = 1500) -> Curve:
    """Returns at most `points` of a curve, each the mean of its neighbors.

    Args:
      x, y: the curve, [N] each.
      points: maximum number of points.
    """
    if len(x) <= points:
        return x, y
    edge = np.linspace(0, len(x), points + 1).astype(int)
    return x[edge[:-1]], np.add.reduceat(y, edge[:-1]) / np.diff(edge)


def smooth(y: np.ndarray, share: float = 0.03) -> np.ndarray:
    """Returns the bias-corrected running mean.

    Args:
      y: values [N].
      share: fraction of the N values that the mean covers, approximately.
    """
    keep = 1 - 1 / max(1, share * len(y))
    out, total, weight = np.full(len(y), np.nan), 0.0, 0.0
    for i, value in enumerate(y):
        if np.isfinite(value):
            total, weight = keep * total + value, keep * weight + 1
        out[i] = total / weight if weight else np.nan
    return out


def figure_to_svg(figure: Figure) -> str:
    """Returns the figure as an <svg> element; several can be in one page."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<(metadata|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"| ?font-family: [^;"]*;', "", text)
    # Ids such as "axes_1" are the same in every figure, and nothing refers to them.
    text = re.sub(r' id="[\w.]+_\d+"', "", text)
    text = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d)\d+", r"\1", path[0]), text)
    text = re.sub(r'^<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 role="img">', text, count=1)
    return text.replace(INK, "currentColor")
