"""The result of a downstream evaluation: one offline page, and its table as CSV, JSON, Markdown."""

import math
import os
from html import escape
from pathlib import Path

from avjax.report import (
    downstream_plot,
    downstream_results,
    downstream_suite,
    downstream_tables,
    html,
)
from avjax.report.downstream_results import Results
from avjax.report.downstream_summary import (
    best_models,
    bold_models,
    cells_of,
    coverage,
    describe,
    found_share,
    lower_is_better,
    metric_names,
    summarize,
    why_empty,
)
from avjax.report.downstream_text import (
    INTERVAL,
    MEAN,
    UNITS,
    footnote,
    format_published,
    format_summary,
    format_value,
    model_labels,
    published_rows,
)
from avjax.report.headline import format_minutes

NUM_EXAMPLES = 16  # Confusions with files on a page: their audio is most of its size.
MAX_EXAMPLES = 8  # Of one suite.


def write(out: str | os.PathLike) -> Path:
    """Writes index.html, table.csv, table.json and table.md of an evaluation.

    Args:
      out: its folder, see `avjax.report.downstream_results`.

    Returns:
      The path of the page.

    Raises:
      FileNotFoundError: it is not a folder.
    """
    folder = Path(out)
    results = downstream_results.read(folder)
    downstream_tables.write(folder, results)
    title = f"{folder.resolve().name}: downstream evaluation"
    metrics = dict.fromkeys(
        f"eval/suite/{m}" for s in results.suites for m in metric_names(results, s)
    )
    page = [
        f"<h1>{escape(title)}</h1>", lead_sentence(results), *map(html.note, results.problems),
        *errors(results), main_table(results), downstream_plot.panels(results),
        *sections(results), "<h2>What the metrics mean</h2>", html.glossary(metrics),
    ]  # fmt: skip
    return html.write_page(folder / "index.html", title, page)


def lead_sentence(results: Results) -> str:
    """Returns the size of the evaluation and its progress as HTML."""
    filled = sum(
        summarize(results, model, suite.key, suite.headline) is not None
        for model in results.models
        for suite in results.suites.values()
    )
    total = len(results.models) * len(results.suites)
    seconds = sum(cell.seconds for cell in results.cells.values())
    text = (
        f"{len(results.models)} models × {len(results.suites)} suites · {filled} of {total} cells "
        f"have a result · {format_minutes(seconds)} of computation"
    )
    return f"<p class=lead>{text}</p>"


def errors(results: Results) -> list[str]:
    """Returns the suites that could not be evaluated, with the remedy, as HTML."""
    return [
        f"<p class=none><b>{escape(suite.title)} could not be evaluated.</b></p>"
        f"<pre>{escape(suite.error)}</pre>"
        for suite in results.suites.values()
        if suite.error
    ]


def main_table(results: Results) -> str:
    """Returns the headline metrics of models and publications as HTML."""
    if not results.models or not results.suites:
        return html.note("There are no results yet: no models, or no suites.")
    labels, notes = model_labels(results), []
    best = {s.key: bold_models(results, s.key, s.headline) for s in results.suites.values()}
    rows = []
    for key, model in results.models.items():
        cells = [_cell(results, key, suite, best[suite], notes) for suite in results.suites]
        step = f", step {model.step:,}" if model.step else ""
        kind = f"<br><small>{escape(model.kind + step)}</small>" if model.kind else ""
        name = f'<span title="{escape(model.folder)}">{escape(labels[key])}</span>{kind}'
        rows.append(f"<tr><td>{name}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    for name, row in published_rows(results).items():
        texts = [_published_cell(results, suite, found) for suite, found in row.items()]
        cells = "".join(f"<td>{text}</td>" for text in texts)
        kind = "<br><small>published</small>"
        rows.append(f"<tr><td><i>{escape(name)}</i>{kind}</td>{cells}</tr>")
    head = "".join(f"<th>{_head(results, key)}</th>" for key in results.suites)
    listed = "".join(f"<li>{escape(reason)}</li>" for reason in notes)
    return (
        f"<div class=wide><table class=results><tr><th></th>{head}</tr>{''.join(rows)}</table>"
        f"</div>{f'<ol class=note>{listed}</ol>' if notes else ''}{_explanation(results)}"
    )


def _explanation(results):
    text = UNITS
    if any(len(suite.splits) > 1 for suite in results.suites.values()):
        text = (
            f"{MEAN}; brackets: {INTERVAL}, a rough one, since "
            f"splits share training records. {text}"
        )
    if len(results.models) > 1:
        text += " Bold: the best mean of ours."
    if any(suite.published for suite in results.suites.values()):
        text += " Italics: published, with the difference of the best of ours (minus published)."
    partial = [
        suite.title for suite in results.suites.values()
        if any(found_share(cell.coverage) < 1 for cell in cells_of(results, suite.key))
    ]  # fmt: skip
    if partial:
        text += (
            f" Not all listed files were found of {'; '.join(partial)}: these results are not "
            "comparable with published ones."
        )
    files = " and ".join(f'<a href="{n}">{n}</a>' for n in ("table.csv", "table.json"))
    return (
        f"<p class=note>{escape(text)} The same numbers with all digits: {files}; for a paper: "
        '<a href="table.md">table.md</a>.</p>'
    )


def _head(results, key):
    """The head of a column: suite, metric and files found."""
    suite = results.suites[key]
    info = describe(suite.headline)
    metric = html.tooltip(info.title, info.meaning)
    arrow = " ↓" if lower_is_better(suite.headline) else ""
    found = coverage(results, key)
    files = f"<br><small>{escape(found)}</small>" if found else ""
    return f'<a href="#{_anchor(results, key)}">{escape(suite.title)}</a><br>{metric}{arrow}{files}'


def _anchor(results, key):
    return f"suite-{list(results.suites).index(key)}"


def _cell(results, model, suite, best, notes):
    """Mean ± deviation and interval of a model, or the number of the reason why there is none."""
    metric = results.suites[suite].headline
    found = summarize(results, model, suite, metric)
    text = format_summary(found, metric) if found else "–"
    if found and model in best:
        text = f"<b>{text}</b>"
    if reason := why_empty(results, model, suite, metric):
        text += f" <sup>{footnote(reason, notes)}</sup>"
    if found and math.isfinite(found.deviation):
        low, high = (format_value(end, metric) for end in (found.low, found.high))
        text += f"<br><small>[{low}, {high}]</small>"
    return text


def _published_cell(results, suite, found):
    """Published values, linked to their sources, and the difference of the best of ours."""
    metric = results.suites[suite].headline
    ours = best_models(results, suite, metric)[:1]
    mean = summarize(results, ours[0], suite, metric) if ours else None
    texts = []
    for value, source in found:
        text = f"<i>{downstream_suite.source_link(source, format_published(value))}</i>"
        if mean is not None:
            gap = downstream_suite.difference(mean.mean - value, metric)
            text += f"<br><small>ours {gap}</small>"
        texts.append(text)
    return "<br>".join(texts)


def sections(results: Results) -> list[str]:
    """Returns one section per suite as HTML."""
    classified = {suite for (_, suite, _), cell in results.cells.items() if cell.arrays is not None}
    count = min(MAX_EXAMPLES, max(1, NUM_EXAMPLES // max(1, len(classified))))
    return [
        f'<h2 id="{_anchor(results, key)}">{escape(suite.title)}</h2>'
        f"{downstream_suite.section(results, key, count)}"
        for key, suite in results.suites.items()
    ]
