"""The evaluations of a run: untrained, last and best value of every metric, beside chance."""

from html import escape

import numpy as np

from avjax.report import plots
from avjax.report.html import folded, heading, none, row
from avjax.runtime import metric_info, metric_records
from avjax.runtime.metric_info import number

LOWER = ("rank", "loss", "error")  # Words of unknown metrics that are better when lower.


def part(evals: dict, labels: dict) -> str:
    """For each suite its table and its curves, as HTML.

    evals: {name: (steps, values)}.  labels: {suite: its labels, see `metric_records.labels`}.
    """
    if not evals:
        return none("No evaluation has been logged yet.")
    suites = {}
    for name, curve in evals.items():
        suites.setdefault(name.split("/")[1], {})[name] = curve
    return "".join(
        f"<h3>{escape(suite)}</h3>{table(curves, labels.get(suite))}"
        f"{plots.evaluation(curves, labels.get(suite))}"
        f"{folded('All values by their names in metrics.csv', raw(curves))}"
        for suite, curves in suites.items()
    )


def table(curves: dict, label: dict | None = None) -> str:
    """A line for each metric but counts: untrained (step 0), last, chance; best, if of three.

    Where some test records lack a modality, also on how many each metric rests.
    """
    end = max(int(x[-1]) for x, _ in curves.values())
    many = any(len(x) >= plots.FEWEST for x, _ in curves.values())
    order, lines = list(metric_info.RESULTS), ""
    notes = metric_records.fewer({n.split("/", 2)[-1]: y[-1] for n, (_, y) in curves.items()})
    found = {name: metric_info.match(name) for name in curves}

    def place(name):
        pattern = found[name][0]
        return order.index(pattern) if pattern in order else len(order)

    for name in sorted(curves, key=place):
        (x, y), metric = curves[name], found[name][1]
        if metric.counts:
            continue
        untrained = metric_info.shown(y[0], metric) if x[0] == 0 else "–"
        late = "" if x[-1] == end else f" <small>step {x[-1]:,}</small>"
        cells = [untrained, metric_info.shown(y[-1], metric) + late]
        cells.append(metric_info.shown(metric_info.chance(name, curves, label), metric))
        cells += [best(name, x, y, metric)] * many
        cells += [count(name, curves)] * bool(notes)
        lines += row(metric.title, cells, metric.meaning)
    started = any(x[0] == 0 for x, _ in curves.values())
    note = "" if started else none("No evaluation at step 0: nothing to compare the net with.")
    note += "".join(none(f"{line[0].upper()}{line[1:]}.") for line in notes)
    last = ["best"] * many + ["test records"] * bool(notes)
    head = heading(["metric", "untrained", f"step {end:,}", "chance", *last])
    return f"{note}<div class=wide><table>{head}{lines}</table></div>"


def count(name: str, curves: dict) -> str:
    """The number of test records that a metric rests on; a dash where that is not known."""
    found = metric_records.count(name, curves)
    return "–" if found is None else f"{found:,}"


def best(name: str, x, y, metric) -> str:
    """The best value of a curve and its step; a dash for what never changes."""
    good = y[np.isfinite(y)]
    if len(good) < 2 or (good == good[0]).all():
        return "–"
    leaf = name.split("/")[-1]
    lower = metric.better < 0 or (metric.better == 0 and any(word in leaf for word in LOWER))
    at = np.nanargmin(y) if lower else np.nanargmax(y)
    return f"{metric_info.shown(y[at], metric)} <small>step {x[at]:,}</small>"


def raw(curves: dict) -> str:
    """Every name with its first and last value, as logged."""
    lines = "".join(row(name, [number(y[0]), number(y[-1])]) for name, (_, y) in curves.items())
    return f"<div class=wide><table>{heading(['name', 'first', 'last'])}{lines}</table></div>"
