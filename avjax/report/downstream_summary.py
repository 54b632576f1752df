"""Summaries of a downstream evaluation: metrics over splits, best models, reasons of gaps."""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from avjax.ablation.study import confidence_interval
from avjax.report.downstream_results import Cell, Results
from avjax.report.evaluation_tables import LOWER_IS_BETTER
from avjax.runtime import metric_info


class Summary(NamedTuple):
    """A metric over splits: mean, sample standard deviation (n - 1) and Student's 95 % interval.

    `deviation`, `low` and `high` are NaN for a single split.
    """

    values: Mapping[str, float]
    mean: float
    deviation: float
    low: float
    high: float


def describe(metric: str) -> metric_info.Metric:
    """Returns title, unit and meaning of a metric of a cell."""
    return metric_info.describe(f"eval/suite/{metric}")


def metric_names(results: Results, suite: str) -> list[str]:
    """Returns the metrics of a suite, the headline first: those it names, then others found."""
    found = [
        name for cell in cells_of(results, suite) for name in cell.metrics
        if not describe(name).counts
    ]  # fmt: skip
    listed = [name for name in results.suites[suite].metrics if name in found]
    headline = [results.suites[suite].headline] if results.suites[suite].headline in found else []
    return list(dict.fromkeys([*headline, *listed, *found]))


def summarize(results: Results, model: str, suite: str, metric: str) -> Summary | None:
    """Returns a metric of a model over the splits of a suite; None without a value.

    Args:
      results: of the folder.
      model, suite: keys.
      metric: name.
    """
    values = {}
    for split in results.suites[suite].splits:
        cell = results.cells.get((model, suite, split))
        if cell is not None and metric in cell.metrics:
            values[split] = cell.metrics[metric]
    if not values:
        return None
    points = list(values.values())
    scale = describe(metric).scale
    limits = (0.0, 100 / scale) if scale else ()
    mean, low, high = confidence_interval(points, *limits)
    deviation = float(np.std(points, ddof=1)) if len(points) > 1 else math.nan
    return Summary(values, mean, deviation, low, high)


def lower_is_better(metric: str) -> bool:
    """Whether a lower value of a metric is better."""
    better = describe(metric).better
    return better < 0 or (better == 0 and any(word in metric for word in LOWER_IS_BETTER))


def ranked_models(results: Results, suite: str, metric: str) -> list[str]:
    """Returns all models, that with the best mean first, those without a finite mean last."""
    sign = 1 if lower_is_better(metric) else -1

    def rank(model: str) -> float:
        found = summarize(results, model, suite, metric)
        return sign * found.mean if found and math.isfinite(found.mean) else math.inf

    return sorted(results.models, key=rank)


def best_models(results: Results, suite: str, metric: str) -> list[str]:
    """Returns the models with the best mean: the highest, or the lowest of ranks and losses."""
    found = {m: summarize(results, m, suite, metric) for m in results.models}
    means = {m: s.mean for m, s in found.items() if s is not None and math.isfinite(s.mean)}
    if not means:
        return []
    best = (min if lower_is_better(metric) else max)(means.values())
    return [model for model, mean in means.items() if abs(mean - best) <= 1e-9]


def bold_models(results: Results, suite: str, metric: str) -> list[str]:
    """Returns the best models if several have the metric: their values are in bold."""
    values = [m for m in results.models if summarize(results, m, suite, metric) is not None]
    return best_models(results, suite, metric) if len(values) > 1 else []


def why_empty(results: Results, model: str, suite: str, metric: str) -> str:
    """Returns why splits of a model lack a metric of a suite; "" if all have it."""
    error = "the suite could not be evaluated" if results.suites[suite].error else ""
    reasons: dict[str, list[str]] = {}
    for split in results.suites[suite].splits:
        cell = results.cells.get((model, suite, split))
        if cell is None:
            reason = error or "not evaluated yet: run the same command again"
            reasons.setdefault(reason, []).append(split)
        elif metric not in cell.metrics:
            reason = cell.left_out or f"the results have no {metric}"
            reasons.setdefault(reason, []).append(split)
    count = len(results.suites[suite].splits)
    if not count:
        return error or "the suite has no splits"
    return "; ".join(
        reason if len(splits) == count else f"split {', '.join(splits)}: {reason}"
        for reason, splits in reasons.items()
    )


def coverage(results: Results, suite: str) -> str:
    """Returns how many of the listed files the cells of a suite found; "" if unknown.

    Different numbers are given from the lowest to the highest share.
    """
    texts = {cell.coverage for cell in cells_of(results, suite) if cell.coverage}
    ranked = sorted(texts, key=lambda text: (found_share(text), text))
    if len(ranked) < 2:
        return "".join(ranked)
    first, last = ranked[0].split(" ", 1), ranked[-1].split(" ", 1)
    if first[1:] == last[1:]:  # Of the same number.
        return " ".join([first[0], "to", *last])
    return f"{ranked[0]} to {ranked[-1]}"


def found_share(text: str) -> float:
    """Returns the share of "n of N found"; 1 if the text has another form."""
    found = re.search(r"([\d,]+) of ([\d,]+)", text)
    listed = int(found[2].replace(",", "") or 0) if found else 0
    return int(found[1].replace(",", "") or 0) / listed if found and listed else 1.0


def cells_of(results: Results, suite: str) -> list[Cell]:
    """Returns the cells of a suite, of all models and splits."""
    return [cell for (_, key, _), cell in results.cells.items() if key == suite]
