"""The table of a downstream evaluation as Markdown."""

import re
from urllib.parse import quote

from avjax.report.downstream_results import Results
from avjax.report.downstream_summary import bold_models, describe, summarize, why_empty
from avjax.report.downstream_text import (
    MEAN,
    UNITS,
    footnote,
    format_published,
    format_summary,
    is_link,
    model_labels,
    published_rows,
)


def markdown(results: Results) -> str:
    """Returns the headline metrics as a Markdown table: models x suites, and its notes."""
    suites, labels = list(results.suites.values()), model_labels(results)
    best = {suite.key: bold_models(results, suite.key, suite.headline) for suite in suites}
    heads = [f"{suite.title}, {describe(suite.headline).title}" for suite in suites]
    lines = [["model", *heads], ["---", *["---:"] * len(suites)]]
    lines[0] = [escape_markdown(head) for head in lines[0]]
    notes: list[str] = []
    for key, model in results.models.items():
        kind = f" ({model.kind})" if model.kind not in labels[key] else ""
        cells = [escape_markdown(labels[key] + kind)]
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
    has_spread = any(len(suite.splits) > 1 for suite in suites)
    text = f"{MEAN}. {UNITS}" if has_spread else UNITS
    text += " Bold: best of ours." if any(best.values()) else ""
    text += " Italics: published." if published_rows(results) else ""
    paragraphs = ["\n".join(rows), text, *map(escape_markdown, [*notes, *errors])]
    return "\n\n".join(paragraphs) + "\n"


def escape_markdown(text: str) -> str:
    """Returns text whose characters have no meaning in a Markdown table."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    text = re.sub(r"([\\`*|\[\]~])", r"\\\1", text)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)


def _markdown_link(text: str, source: str) -> str:
    return f"[{text}]({quote(source, safe=':/?#=&%.,;+@~-_')})" if is_link(source) else text
