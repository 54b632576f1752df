"""The table of a downstream evaluation as CSV, JSON and Markdown."""

import json
import math
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from avjax.report.downstream_results import Model, Results
from avjax.report.downstream_summary import (
    Summary,
    best_models,
    coverage,
    describe,
    metric_names,
    summarize,
    why_empty,
)
from avjax.runtime.atomic import write_atomic
from avjax.runtime.csv_file import write_csv
from avjax.runtime.filenames import printable
from avjax.runtime.metric_info import format_number

MEAN = "Mean ± standard deviation over splits (of the sample, n − 1)"
INTERVAL = "Student's 95 % interval over splits"
UNITS = "Accuracies, recalls and mAP are in percent."
COLUMNS = (
    "suite", "split", "model", "kind", "metric", "value", "headline", "train_records",
    "test_records", "coverage", "seconds", "left_out", "source",
)  # fmt: skip


def write(out: Path, results: Results) -> None:
    """Writes table.csv, table.json and table.md.

    Args:
      out: folder of the evaluation.
      results: of the folder.
    """
    write_csv(out / "table.csv", csv_lines(results))
    text = json.dumps(table_json(results), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomic(out / "table.json", printable(text) + "\n")
    write_atomic(out / "table.md", printable(markdown(results)))


def csv_lines(results: Results) -> list[list]:
    """Returns one line per model, suite, split and metric, one per cell without metrics, and one
    per published result."""
    lines: list[list] = [list(COLUMNS)]
    labels = model_labels(results)
    for suite in results.suites.values():
        for key, model in results.models.items():
            for split in suite.splits:
                cell = results.cells.get((key, suite.key, split))
                start = [suite.key, split, labels[key], model.kind]
                if cell is None or not cell.metrics:
                    reason = why_empty(results, key, suite.key, suite.headline)
                    reason = cell.left_out if cell is not None and cell.left_out else reason
                    lines.append([*start, *[None] * 7, reason, None])
                    continue
                more = [cell.train, cell.test, cell.coverage, cell.seconds, cell.left_out, None]
                for metric, value in cell.metrics.items():
                    is_headline = int(metric == suite.headline)
                    lines.append([*start, metric, value, is_headline, *more])
        for p in suite.published:
            is_headline = int(p.metric == suite.headline)
            lines.append(
                [suite.key, None, p.model, "published", p.metric, p.value, is_headline]
                + [None] * 5 + [p.source]
            )  # fmt: skip
    return lines


def table_json(results: Results) -> dict[str, Any]:
    """Returns all results as JSON values: cells, summaries over splits, published results."""
    summaries, published = [], []
    for suite in results.suites.values():
        for metric in metric_names(results, suite.key):
            best = best_models(results, suite.key, metric)
            for model in results.models:
                if found := summarize(results, model, suite.key, metric):
                    summaries.append(
                        dict(
                            suite=suite.key, model=model, metric=metric,
                            headline=metric == suite.headline, splits=_finite(found.values),
                            mean=_finite(found.mean), standard_deviation=_finite(found.deviation),
                            interval_95=[_finite(found.low), _finite(found.high)],
                            best=model in best,
                        )
                    )  # fmt: skip
        for p in suite.published:
            ours = best_models(results, suite.key, p.metric)[:1]
            mean = summarize(results, ours[0], suite.key, p.metric) if ours else None
            difference = _finite(mean.mean - p.value) if mean else None
            published.append(
                dict(suite=suite.key, **p._asdict(), best=ours, best_minus_published=difference)
            )
    return dict(
        spread=f"{MEAN}; {INTERVAL}. {UNITS}",
        suites=[
            {k: v for k, v in suite._asdict().items() if k != "published"}
            | {"coverage": coverage(results, suite.key)}
            for suite in results.suites.values()
        ],
        models=[model._asdict() for model in results.models.values()],
        summaries=summaries,
        published=published,
        cells=[
            dict(model=model, suite=suite, split=split)
            | {k: _finite(v) for k, v in cell._asdict().items() if k != "arrays"}
            for (model, suite, split), cell in results.cells.items()
        ],
        empty=[
            dict(model=model, suite=suite.key, reason=reason)
            for suite in results.suites.values()
            for model in results.models
            if (reason := why_empty(results, model, suite.key, suite.headline))
        ],
    )


def markdown(results: Results) -> str:
    """Returns the headline metrics as a Markdown table: models x suites, and its notes."""
    suites, labels = list(results.suites.values()), model_labels(results)
    best = {suite.key: best_models(results, suite.key, suite.headline) for suite in suites}
    heads = [f"{suite.title}, {describe(suite.headline).title}" for suite in suites]
    lines = [["model", *heads], ["---", *["---:"] * len(suites)]]
    lines[0] = [escape_markdown(head) for head in lines[0]]
    notes: list[str] = []
    for key, model in results.models.items():
        cells = [escape_markdown(f"{labels[key]} ({model.kind})" if model.kind else labels[key])]
        for suite in suites:
            found = summarize(results, key, suite.key, suite.headline)
            text = format_summary(found, suite.headline) if found else "–"
            is_best = key in best[suite.key]
            reason = why_empty(results, key, suite.key, suite.headline)
            text = f"**{text}**" if is_best else text
            cells.append(text + (f" [{footnote(reason, notes)}]" if reason else ""))
        lines.append(cells)
    for name, row in published_rows(results).items():
        cells = []
        for suite in suites:
            texts = [_markdown_link(format_published(v), s) for v, s in row[suite.key]]
            cells.append("; ".join(f"*{text}*" for text in texts))
        lines.append([f"*{escape_markdown(name)}*", *cells])
    rows = [f"| {' | '.join(line)} |" for line in lines]
    errors = [
        f"{suite.title} could not be evaluated: {suite.error}" for suite in suites if suite.error
    ]
    notes = [f"[{i}] {reason}" for i, reason in enumerate(notes, 1)]
    final = [f"{MEAN}. {UNITS} Bold: best of ours. Italics: published."]
    paragraphs = ["\n".join(rows), *final, *map(escape_markdown, [*notes, *errors])]
    return "\n\n".join(paragraphs) + "\n"


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


def escape_markdown(text: str) -> str:
    """Returns text whose characters have no meaning in a Markdown table."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    text = re.sub(r"([\\`*|\[\]~])", r"\\\1", text)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)


def _markdown_link(text: str, source: str) -> str:
    return f"[{text}]({quote(source, safe=':/?#=&%.,;+@~-_')})" if is_link(source) else text


def _finite(value: Any) -> Any:
    """A value for JSON, which has no NaN: None instead."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
