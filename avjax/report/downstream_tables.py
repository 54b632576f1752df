"""The table of a downstream evaluation as CSV and JSON, and all of its files."""

import json
import math
from pathlib import Path
from typing import Any

from avjax.report.downstream_markdown import markdown
from avjax.report.downstream_results import Results
from avjax.report.downstream_summary import (
    best_models,
    coverage,
    metric_names,
    summarize,
    why_empty,
)
from avjax.report.downstream_text import INTERVAL, MEAN, UNITS, model_labels
from avjax.runtime.atomic import write_atomic
from avjax.runtime.csv_file import write_csv
from avjax.runtime.filenames import printable

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
    suites = results.suites.values()
    table = dict(
        spread=f"{MEAN}; {INTERVAL}. {UNITS}",
        suites=[
            {k: v for k, v in suite._asdict().items() if k != "published"}
            | {"coverage": coverage(results, suite.key)}
            for suite in suites
        ],
        models=[model._asdict() for model in results.models.values()],
        summaries=[line for suite in suites for line in _summaries(results, suite)],
        published=[line for suite in suites for line in _published(results, suite)],
        cells=[
            dict(model=model, suite=suite, split=split)
            | {k: v for k, v in cell._asdict().items() if k != "arrays"}
            for (model, suite, split), cell in results.cells.items()
        ],
        empty=[
            dict(model=model, suite=suite.key, reason=reason)
            for suite in suites
            for model in results.models
            if (reason := why_empty(results, model, suite.key, suite.headline))
        ],
    )
    return _finite(table)


def _summaries(results, suite):
    """Every metric of every model over the splits of a suite."""
    for metric in metric_names(results, suite.key):
        best = best_models(results, suite.key, metric)
        for model in results.models:
            if found := summarize(results, model, suite.key, metric):
                yield dict(
                    suite=suite.key, model=model, metric=metric,
                    headline=metric == suite.headline, splits=found.values, mean=found.mean,
                    standard_deviation=found.deviation, interval_95=[found.low, found.high],
                    best=model in best,
                )  # fmt: skip


def _published(results, suite):
    """Every published result of a suite, and the difference of the best of ours."""
    for p in suite.published:
        ours = best_models(results, suite.key, p.metric)[:1]
        mean = summarize(results, ours[0], suite.key, p.metric) if ours else None
        difference = mean.mean - p.value if mean else None
        yield dict(suite=suite.key, **p._asdict(), best=ours, best_minus_published=difference)


def _finite(value: Any) -> Any:
    """A value for JSON, which has no NaN: None instead."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
