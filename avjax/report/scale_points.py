"""The arms of a study of batch size, negatives and records, read from their names.

An arm is named SOURCE-bB-kK-nN-BUDGET, such as in_batch-b64-k63-n25000-examples.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from avjax.ablation import study as arithmetic
from avjax.ablation.study import Run
from avjax.report.comparison_page import mean_of_matching, value_limits

NAME = re.compile(r"(?P<source>[\w.]+)-b(\d+)-k(\d+)-n(\d+)-(?P<budget>examples|steps|flops)")


class Point(NamedTuple):
    """An arm and its values.

    Attributes:
      source: name of the source of negatives or of the loss, e.g. "in_batch".
      batch, negatives, records: B, K and N.
      budget: "examples", "steps" or "flops".
      values: {title: {seed: value}}.
    """

    source: str
    batch: int
    negatives: int
    records: int
    budget: str
    values: dict[str, dict[int, float]]


def points(
    runs: Sequence[Run], results: Mapping[str, dict], quantities: Mapping[str, str]
) -> list[Point]:
    """Returns the arms with a finished run, in their order.

    Args:
      runs: of the study; those that tune a learning rate do not count.
      results: {name of a run: result}.
      quantities: {title: pattern of the names of a run's values}.

    Raises:
      ValueError: the name of an arm is of another form.
    """
    found: dict[str, Point] = {}
    for run in runs:
        if run.learning_rate is not None or run.name not in results:
            continue
        name = NAME.fullmatch(run.arm.name)
        if name is None:
            raise ValueError(f"arm {run.arm.name}: a report of scale needs SOURCE-bB-kK-nN-BUDGET")
        b, k, n = (int(name[i]) for i in (2, 3, 4))
        point = Point(name["source"], b, k, n, name["budget"], {t: {} for t in quantities})
        point = found.setdefault(run.arm.name, point)
        for title, pattern in quantities.items():
            value = mean_of_matching(results[run.name]["values"], pattern)
            if not math.isnan(value):
                point.values[title][run.seed] = value
    return list(found.values())


def interval(point: Point, title: str) -> tuple[float, float, float]:
    """Returns (mean, low, high) over seeds of a quantity, NaN if there is no value."""
    values = list(point.values[title].values())
    return arithmetic.confidence_interval(values, *value_limits(title))


def select(found: Sequence[Point], title: str, **wanted) -> list[Point]:
    """Returns the points with these attributes and a value of `title`."""
    return [
        p
        for p in found
        if p.values[title] and all(getattr(p, name) == value for name, value in wanted.items())
    ]
