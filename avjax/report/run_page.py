"""The report of a run as one offline page: `python -m avjax.report.run_page WORKDIR`.

Reads config.json, run.json, metrics.csv (step,name,value) and evals/<suite>.npz; the page names
missing ones.  Styles, plots and images are inside the page.
"""

import argparse
import csv
import json
import logging
import math
import os
from html import escape
from pathlib import Path

import numpy as np

from avjax.config.program import program_name
from avjax.report import (
    agreement,
    evaluation_tables,
    headline,
    html,
    plots,
    retrieval_gallery,
    selection_section,
)
from avjax.report.html import collapsible, header_row, note, table_row
from avjax.runtime import metric_info, metric_records
from avjax.runtime.metric_info import format_number
from avjax.runtime.regular_files import check_regular, read_text
from avjax.runtime.save_failures import is_disk_full
from avjax.runtime.side_files import NPZ_ERRORS

LARGE_TEST_SET = (
    5000  # From so many test records on, agreement takes longer than the rest of the page.
)
log = logging.getLogger(__name__)


def write(workdir: str | os.PathLike) -> Path:
    """Writes `report.html` into a run's folder and returns its path.

    Args:
      workdir: the folder of the run.

    Raises:
      FileNotFoundError: it is not a folder.
    """
    workdir = Path(workdir)
    if not workdir.is_dir():
        raise FileNotFoundError(f"{workdir} is not a folder: give the --workdir of a run")
    config, trouble = read_json(workdir / "config.json")
    if not (workdir / "config.json").exists():
        trouble = ["config.json is missing: batch size, method and seed are unknown."]
    run, more = read_json(workdir / "run.json")
    curves, torn = read_metrics(workdir / "metrics.csv")
    if torn:
        more.append(f"metrics.csv has {torn} lines that are not step,name,value: ignored.")
    evals = {n: curve for n, curve in curves.items() if n.startswith("eval/") and n.count("/") > 1}
    training = {name: curve for name, curve in curves.items() if name not in evals}
    labels = read_labels(workdir / "evals")
    name = workdir.resolve().name
    parts = {
        "Evaluation": evaluation_tables.section(evals, labels),
        "Selection of clips": selection_section.run_section(workdir / "evals"),
        "Training": training_section(training),
        "Retrieval gallery": retrieval_gallery.section(workdir / "evals"),
        "Audio-visual agreement": agreement_section(workdir, config, training, labels),
        "What the metrics mean": html.glossary(curves),
        "Configuration": config_section(config),
    }
    page = [
        f"<h1>{escape(name)}</h1>", *map(note, trouble + more),
        headline.lead_sentence(config, run, training),
        headline.cards(evals, labels), headline.summary_table(config, run, training),
        *(f"<h2>{title}</h2>\n{part}" for title, part in parts.items() if part),
    ]  # fmt: skip
    return html.write_page(workdir / "report.html", f"{name}: report of a run", page)


def write_or_log(workdir: str | os.PathLike) -> Path | None:
    """Like `write`, but logs an error instead of raising it, so that training continues."""
    try:
        return write(workdir)
    except Exception as error:  # No error of a report may stop the training.
        if is_disk_full(error):
            log.warning("%s/report.html: no space left on the disk; written later", workdir)
            return None
        log.exception("%s/report.html could not be written; training is not affected", workdir)
        return None


def read_json(path: Path) -> tuple[dict, list[str]]:
    """Reads a mapping from a JSON file.

    Args:
      path: the file.

    Returns:
      (the mapping, {} if missing or damaged; list of errors).
    """
    if not path.exists():
        return {}, []
    try:
        found = json.loads(read_text(path))
    except ValueError as error:
        return {}, [f"{path.name} cannot be read: {error}"]
    return (found, []) if isinstance(found, dict) else ({}, [f"{path.name} is not a mapping."])


def read_labels(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Returns {suite: `metric_records.labels_by_group`} of the readable suites."""
    labels = {}
    for path in sorted(folder.glob("*.npz")):
        try:
            check_regular(path)
            with np.load(path, allow_pickle=False) as file:
                labels[path.stem] = metric_records.labels_by_group(file)
        except NPZ_ERRORS:
            continue  # The gallery reports the error on the page.
    return labels


def read_metrics(path: Path) -> tuple[dict[str, plots.Curve], int]:
    """Returns ({name: (steps, values)}, number of damaged lines) of metrics.csv.

    If a step occurs twice, as after a resumed run, the last line counts.
    """
    found, torn = {}, 0
    if path.exists():
        check_regular(path)
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            for row in csv.reader(file):
                if row == ["step", "name", "value"]:
                    continue
                try:
                    step, name, value = row
                    found.setdefault(name, {})[int(float(step))] = float(value)
                except ValueError:
                    torn += 1
    curves = {}
    for name, points in found.items():
        steps = sorted(points)
        curves[name] = np.array(steps), np.array([points[step] for step in steps])
    return curves, torn


def agreement_section(workdir: Path, config: dict, training: dict, labels: dict) -> str:
    """Returns the agreement as HTML; with many records only at the end of the run.

    Args:
      workdir: the folder of the run.
      config: of the run.
      training: {name: (steps, values)}.
      labels: {suite: labels}, see `read_labels`.
    """
    last = max((int(x[-1]) for x, _ in training.values()), default=0)
    going = isinstance(config.get("steps"), int) and last < config["steps"]
    if going and max((len(own.get("", ())) for own in labels.values()), default=0) > LARGE_TEST_SET:
        return note("Written at the end of the run: the test set is large.")
    return agreement.section(workdir / "evals")


def training_section(training: dict) -> str:
    """Returns the training curves and a table of their first and last values as HTML.

    Args:
      training: {name: (steps, values)}.
    """
    if not training:
        return note("No training metrics: metrics.csv is missing or empty.")
    lines = ""
    for name, (_, y) in training.items():
        good = y[np.isfinite(y)]
        cells = [y[0], y[-1], *([good.min(), good.max()] if len(good) else [math.nan] * 2)]
        lines += table_row(
            name, [format_number(v) for v in cells], metric_info.describe(name).meaning
        )
    table = header_row(["metric", "first", "last", "lowest", "highest"]) + lines
    table = collapsible("All training metrics", f"<div class=wide><table>{table}</table></div>")
    return f"{plots.training_panels(training)}{table}"


def config_section(config: dict) -> str:
    """Returns the config of a run as HTML."""
    if not config:
        return note("Unknown.")
    text = escape(json.dumps(config, indent=2, ensure_ascii=False))
    return collapsible("The whole configuration", f"<pre>{text}</pre>")


def main(arguments: list[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        prog=program_name("avjax.report.run_page"), description=__doc__
    )
    parser.add_argument("workdir", help="the folder of a run")
    try:
        path = write(parser.parse_args(arguments).workdir)
    except FileNotFoundError as error:
        parser.error(str(error))
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
