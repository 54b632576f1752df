"""The evaluations of a run: untrained, last and best value of each metric, and chance level."""

from html import escape

import numpy as np

from avjax.report import plots
from avjax.report.html import collapsible, header_row, note, table_row
from avjax.runtime import metric_info, metric_records
from avjax.runtime.metric_info import format_number

LOWER_IS_BETTER = ("rank", "loss", "error")  # Words in unknown metrics that are better when lower.


def section(evals: dict, labels: dict) -> str:
    """Returns the table and curves of each suite as HTML.

    Args:
      evals: {name: (steps, values)}.
      labels: {suite: labels, see `metric_records.labels_by_group`}.
    """
    if not evals:
        return note("No evaluation has been logged yet.")
    suites = {}
    for name, curve in evals.items():
        suites.setdefault(name.split("/")[1], {})[name] = curve
    return "".join(
        f"<h3>{escape(suite)}</h3>{metric_table(curves, labels.get(suite))}"
        f"{plots.evaluation_panels(curves, labels.get(suite))}"
        f"{collapsible('All values by their names in metrics.csv', all_values(curves))}"
        for suite, curves in suites.items()
    )


def metric_table(curves: dict, label: dict | None = None) -> str:
    """Returns one row per metric: untrained (step 0), last, chance, and best if there are curves.

    If some test records lack a modality, also the number of records of each metric.
    """
    end = max(int(x[-1]) for x, _ in curves.values())
    many = any(len(x) >= plots.MIN_POINTS for x, _ in curves.values())
    order, lines = list(metric_info.EVALUATION_METRICS), ""
    notes = metric_records.missing_modality_notes(
        {n.split("/", 2)[-1]: y[-1] for n, (_, y) in curves.items()}
    )
    found = {name: metric_info.match(name) for name in curves}

    def place(name):
        pattern = found[name][0]
        return order.index(pattern) if pattern in order else len(order)

    for name in sorted(curves, key=place):
        (x, y), metric = curves[name], found[name][1]
        if metric.counts:
            continue
        untrained = metric_info.format_value(y[0], metric) if x[0] == 0 else "–"
        late = "" if x[-1] == end else f" <small>step {x[-1]:,}</small>"
        cells = [untrained, metric_info.format_value(y[-1], metric) + late]
        cells.append(
            metric_info.format_value(metric_info.chance_level(name, curves, label), metric)
        )
        cells += [best_value(name, x, y, metric)] * many
        cells += [record_count(name, curves)] * bool(notes)
        lines += table_row(metric.title, cells, metric.meaning)
    started = any(x[0] == 0 for x, _ in curves.values())
    notes_html = "" if started else note("No evaluation at step 0: no untrained baseline.")
    notes_html += "".join(note(f"{line[0].upper()}{line[1:]}.") for line in notes)
    last = ["best"] * many + ["test records"] * bool(notes)
    head = header_row(["metric", "untrained", f"step {end:,}", "chance", *last])
    return f"{notes_html}<div class=wide><table>{head}{lines}</table></div>"


def record_count(name: str, curves: dict) -> str:
    """Returns the number of test records of a metric; a dash if it is not known.

    Args:
      name: of the metric.
      curves: {name: (steps, values)}.
    """
    found = metric_records.num_records(name, curves)
    return "–" if found is None else f"{found:,}"


def best_value(name: str, x: np.ndarray, y: np.ndarray, metric: metric_info.Metric) -> str:
    """Returns the best value of a curve and its step; a dash if the curve is constant.

    Args:
      name: of the metric.
      x, y: steps and values, [N] each.
      metric: its description.
    """
    good = y[np.isfinite(y)]
    if len(good) < 2 or (good == good[0]).all():
        return "–"
    leaf = name.split("/")[-1]
    lower = metric.better < 0 or (
        metric.better == 0 and any(word in leaf for word in LOWER_IS_BETTER)
    )
    at = np.nanargmin(y) if lower else np.nanargmax(y)
    return f"{metric_info.format_value(y[at], metric)} <small>step {x[at]:,}</small>"


def all_values(curves: dict) -> str:
    """Returns a table of all names with their first and last logged values."""
    lines = "".join(
        table_row(name, [format_number(y[0]), format_number(y[-1])])
        for name, (_, y) in curves.items()
    )
    return f"<div class=wide><table>{header_row(['name', 'first', 'last'])}{lines}</table></div>"
