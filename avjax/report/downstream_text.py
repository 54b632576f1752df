"""Texts of the table of a downstream evaluation: numbers, names of rows, notes."""

import math
import re

from avjax.report.downstream_results import Model, Results
from avjax.report.downstream_summary import Summary, describe
from avjax.runtime.metric_info import format_number

MEAN = "Mean ± standard deviation over splits (of the sample, n − 1)"
INTERVAL = "Student's 95 % interval over splits"
UNITS = "Accuracies, recalls and mAP are in percent."


def published_rows(results: Results) -> dict[str, dict[str, list[tuple[float, str]]]]:
    """Returns {published model: {suite: [(value, source)]}} of the headline metrics."""
    rows: dict[str, dict[str, list[tuple[float, str]]]] = {}
    for suite in results.suites.values():
        for p in suite.published:
            if p.metric == suite.headline:
                row = rows.setdefault(p.model, {key: [] for key in results.suites})
                row[suite.key].append((p.value, p.source))
    return rows


def model_labels(results: Results) -> dict[str, str]:
    """Returns {model: its name}, with the key in parentheses where names are equal."""
    names = [model.name for model in results.models.values()]

    def label(model: Model) -> str:
        is_unique = names.count(model.name) == 1
        return model.name if is_unique else f"{model.name} ({model.key})"

    return {key: label(model) for key, model in results.models.items()}


def footnote(reason: str, notes: list[str]) -> int:
    """Returns the number of a note, from 1; a new one is appended to `notes`."""
    if reason not in notes:
        notes.append(reason)
    return notes.index(reason) + 1


def format_value(value: float, metric: str) -> str:
    """Formats a value of a metric without its unit; percentages with one decimal."""
    scale = describe(metric).scale
    if not math.isfinite(value):
        return "not finite"
    return f"{scale * value:.1f}" if scale else format_number(value)


def format_published(value: float) -> str:
    """Formats a published value with the digits that it has."""
    return f"{value:.6g}"


def format_summary(found: Summary, metric: str) -> str:
    """Formats a mean and its standard deviation: "60.8 ± 1.2"."""
    text = format_value(found.mean, metric)
    if math.isfinite(found.deviation):
        text += f" ± {format_value(found.deviation, metric)}"
    return text


def is_link(source: str) -> bool:
    """Whether a source is an address of a page that may be linked."""
    return bool(re.match(r"https?://[\w.-]+", source))
