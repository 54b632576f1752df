"""A suite of a downstream evaluation as HTML: metrics by split, published results, classes."""

import math
from html import escape

from avjax.report import confusion_section, predictions
from avjax.report.downstream_results import Results
from avjax.report.downstream_summary import (
    bold_models,
    describe,
    metric_names,
    ranked_models,
    summarize,
    why_empty,
)
from avjax.report.downstream_text import format_published, format_value, is_link, model_labels
from avjax.report.headline import format_minutes
from avjax.report.html import collapsible, header_row, note, table_row, tooltip

MAX_METRICS = 4  # Metrics by split that are shown at once; further ones after a click.


def section(results: Results, suite: str, num_examples: int) -> str:
    """Returns a suite as HTML.

    Args:
      results: of the folder.
      suite: key.
      num_examples: confusions with files.
    """
    found, names = results.suites[suite], metric_names(results, suite)
    if not names:
        text = "No model has a result" + (", see the top of the page." if found.error else " yet.")
        reasons = "" if found.error else empty_cells(results, suite)
        return note(text) + reasons + published_table(results, suite)
    if len(found.splits) == 1:
        parts = [metric_table(results, suite, names)]
    else:
        parts = [split_table(results, suite, names[:MAX_METRICS])]
        if further := names[MAX_METRICS:]:
            table = split_table(results, suite, further)
            parts.append(collapsible(f"Further metrics by split: {', '.join(further)}", table))
    parts += [empty_cells(results, suite), published_table(results, suite)]
    parts.append(collapsible("Records read, files found and time", data_table(results, suite)))
    parts.append(classes(results, suite, num_examples))
    return "".join(parts)


def metric_table(results: Results, suite: str, metrics: list[str]) -> str:
    """Returns the metrics of a suite with one split as HTML: metrics x models.

    Args:
      results: of the folder.
      suite: key.
      metrics: names.
    """
    rows = []
    for metric in metrics:
        best, cells = bold_models(results, suite, metric), []
        for model in results.models:
            found = summarize(results, model, suite, metric)
            cells.append(_mean(found, metric, model in best) if found else "–")
        rows.append(f"<tr><td>{_title(metric)}</td>{''.join(f'<td>{c}</td>' for c in cells)}</tr>")
    head = header_row(["", *model_labels(results).values()])
    return f"<div class=wide><table>{head}{''.join(rows)}</table></div>"


def split_table(results: Results, suite: str, metrics: list[str]) -> str:
    """Returns metrics by split with mean, standard deviation and interval, as HTML.

    Args:
      results: of the folder.
      suite: key.
      metrics: names.
    """
    splits, labels = results.suites[suite].splits, model_labels(results)
    heads = ["", *(f"split {split}" for split in splits), "mean", "std. dev.", "95 % interval"]
    rows = []
    for metric in metrics:
        rows.append(f"<tr><th colspan={len(heads)}>{_title(metric)}</th></tr>")
        best = bold_models(results, suite, metric)
        for model in results.models:
            if found := summarize(results, model, suite, metric):
                each = [found.values.get(split) for split in splits]
                cells = ["–" if v is None else format_value(v, metric) for v in each]
                cells += [_mean(found, metric, model in best), *_spread(found, metric)]
                rows.append(table_row(labels[model], cells))
    return f"<div class=wide><table>{header_row(heads)}{''.join(rows)}</table></div>"


def _title(metric):
    info = describe(metric)
    name = f" <small>{escape(metric)}</small>" if info.title != metric else ""
    return tooltip(info.title, info.meaning) + name


def _mean(found, metric, is_best):
    text = format_value(found.mean, metric)
    return f"<b>{text}</b>" if is_best else text


def _spread(found, metric):
    if not math.isfinite(found.deviation):
        return ["–", "–"]
    low, high = (format_value(end, metric) for end in (found.low, found.high))
    return [format_value(found.deviation, metric), f"[{low}, {high}]"]


def empty_cells(results: Results, suite: str) -> str:
    """Returns why models lack the headline metric, or some splits of it, as HTML."""
    labels, metric = model_labels(results), results.suites[suite].headline
    reasons = {labels[m]: why_empty(results, m, suite, metric) for m in results.models}
    return "".join(note(f"{name}: {reason}") for name, reason in reasons.items() if reason)


def published_table(results: Results, suite: str) -> str:
    """Returns published results with the difference of each model (ours minus published)."""
    published, labels = results.suites[suite].published, model_labels(results)
    if not published:
        return ""
    rows = []
    for p in published:
        cells = [
            escape(describe(p.metric).title),
            f"<i>{format_published(p.value)}</i>",
            source_link(p.source, p.source),
        ]
        for model in results.models:
            found = summarize(results, model, suite, p.metric)
            cells.append(difference(found.mean - p.value, p.metric) if found else "–")
        rows.append(table_row(p.model, cells))
    head = header_row(["published", "metric", "value", "source", *labels.values()])
    return (
        "<h3>Published results</h3><p class=note>Under a model: its mean minus the published "
        f"value.</p><div class=wide><table>{head}{''.join(rows)}</table></div>"
    )


def difference(value: float, metric: str) -> str:
    """Formats a difference with its sign: "+1.2", "−12.3"."""
    text = format_value(abs(value), metric)
    sign = "−" if value < 0 else "+"
    return sign + text if math.isfinite(value) else text


def source_link(source: str, text: str) -> str:
    """Returns text as a link to its source, if that is an address, as HTML.

    Args:
      source: an address, or the name of a publication.
      text: of the link, escaped here.
    """
    text = text.removeprefix("https://").removeprefix("http://")
    if not is_link(source):
        return escape(text)
    return f'<a href="{escape(source)}" rel="noreferrer">{escape(text)}</a>'


def data_table(results: Results, suite: str) -> str:
    """Returns records read, files found and seconds of each cell as HTML."""
    labels, rows = model_labels(results), []
    for (model, key, split), cell in results.cells.items():
        if key == suite:
            counts = ["–" if n is None else f"{n:,}" for n in (cell.train, cell.test)]
            cells = [split, *counts, cell.coverage or "–", format_minutes(cell.seconds)]
            rows.append(table_row(labels[model], [escape(text) for text in cells]))
    head = header_row(["", "split", "train records", "test records", "files", "time"])
    return f"<div class=wide><table>{head}{''.join(rows)}</table></div>"


def classes(results: Results, suite: str, num_examples: int) -> str:
    """Returns accuracy per class and confusions of the best models as HTML; "" if there are none.

    Args:
      results: of the folder.
      suite: key.
      num_examples: confusions with files.
    """
    labels, metric = model_labels(results), results.suites[suite].headline
    found, notes = {}, []
    for model in ranked_models(results, suite, metric):
        paths = [
            cell.arrays for (key, name, _), cell in results.cells.items()
            if key == model and name == suite and cell.arrays is not None
        ]  # fmt: skip
        pooled, problems = predictions.read(paths)
        notes += map(note, problems)
        if pooled is not None and pooled.confusion.any():
            found[labels[model]] = pooled
    return "".join(notes) + (confusion_section.section(found, num_examples) if found else "")
