"""A run's folder as one page that opens offline: `python -m avjax.report.run_page WORKDIR`.

Reads config.json, run.json, metrics.csv (step,name,value) and evals/<suite>.npz; what is missing
is said on the page.  Nothing is loaded from elsewhere: styles, plots and pictures are inside.
"""

import argparse
import csv
import json
import logging
import math
import os
import zipfile
from html import escape
from pathlib import Path

import numpy as np

from avjax.report import agreement, evaluation_tables, headline, html, plots, retrieval_gallery
from avjax.report.html import folded, heading, none, row
from avjax.runtime import metric_info, metric_records
from avjax.runtime.metric_info import number

MANY = 5000  # Test records from which on agreement takes longer than the rest of the page.
log = logging.getLogger(__name__)


def write(workdir: str | os.PathLike) -> Path:
    """Writes `report.html` into a run's folder and returns its path."""
    workdir = Path(workdir)
    if not workdir.is_dir():
        raise FileNotFoundError(f"{workdir} is not a folder: give the --workdir of a run")
    config, trouble = read_json(workdir / "config.json")
    if not (workdir / "config.json").exists():
        trouble = ["config.json is missing: batch size, method and seed are not known here."]
    run, more = read_json(workdir / "run.json")
    curves, torn = read_metrics(workdir / "metrics.csv")
    if torn:
        more.append(f"metrics.csv has {torn} lines that are not step,name,value: left out.")
    evals = {n: curve for n, curve in curves.items() if n.startswith("eval/") and n.count("/") > 1}
    training = {name: curve for name, curve in curves.items() if name not in evals}
    labels = read_labels(workdir / "evals")
    name = workdir.resolve().name
    parts = {
        "Evaluation": evaluation_tables.part(evals, labels),
        "Training": training_part(training),
        "Retrieval gallery": retrieval_gallery.part(workdir / "evals"),
        "Agreement of picture and sound": agreement_part(workdir, config, training, labels),
        "What the metrics mean": html.glossary(curves),
        "Configuration": config_part(config),
    }
    page = [
        f"<h1>{escape(name)}</h1>", *map(none, trouble + more),
        headline.lead(config, run, training),
        headline.cards(evals, labels), headline.facts(config, run, training),
        *(f"<h2>{title}</h2>\n{part}" for title, part in parts.items()),
    ]  # fmt: skip
    return html.save(workdir / "report.html", f"{name}: report of a run", page)


def renew(workdir: str | os.PathLike) -> Path | None:
    """`write` for a run that must go on: a page that cannot be made is named in the log."""
    try:
        return write(workdir)
    except Exception:  # Training is worth more than its report, whatever is wrong with that.
        log.exception("%s/report.html could not be written; training is not affected", workdir)
        return None


def read_json(path: Path) -> tuple[dict, list[str]]:
    """(what a file holds, {} where there is none; what is wrong with it)"""
    if not path.exists():
        return {}, []
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        return {}, [f"{path.name} cannot be read: {error}"]
    return (found, []) if isinstance(found, dict) else ({}, [f"{path.name} is not a mapping."])


def read_labels(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """{suite: `metric_records.labels` of its test records}, of those whose arrays can be read."""
    labels = {}
    for path in sorted(folder.glob("*.npz")):
        try:
            with np.load(path, allow_pickle=False) as file:
                labels[path.stem] = metric_records.labels(file)
        except (OSError, ValueError, zipfile.BadZipFile):
            continue  # The gallery says on the page what is wrong with it.
    return labels


def read_metrics(path: Path) -> tuple[dict[str, plots.Curve], int]:
    """({name: (steps, values)}, count of lines that could not be read).

    Of a step that is there twice, as after a resumed run, the last line counts.
    """
    found, torn = {}, 0
    if path.exists():
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


def agreement_part(workdir: Path, config: dict, training: dict, labels: dict) -> str:
    """Of many records only once the run has ended: a page is written at every evaluation."""
    last = max((int(x[-1]) for x, _ in training.values()), default=0)
    going = isinstance(config.get("steps"), int) and last < config["steps"]
    if going and max((len(own.get("", ())) for own in labels.values()), default=0) > MANY:
        return none("Written when the run ends: the test set is large.")
    return agreement.part(workdir / "evals")


def training_part(training: dict) -> str:
    """The curves of training, and their ends in numbers."""
    if not training:
        return none("No training metrics: metrics.csv is missing or empty.")
    lines = ""
    for name, (_, y) in training.items():
        good = y[np.isfinite(y)]
        cells = [y[0], y[-1], *([good.min(), good.max()] if len(good) else [math.nan] * 2)]
        lines += row(name, [number(v) for v in cells], metric_info.describe(name).meaning)
    table = heading(["metric", "first", "last", "lowest", "highest"]) + lines
    table = folded("All training metrics", f"<div class=wide><table>{table}</table></div>")
    return f"{plots.training(training)}{table}"


def config_part(config: dict) -> str:
    if not config:
        return none("Not known.")
    text = escape(json.dumps(config, indent=2, ensure_ascii=False))
    return folded("The whole configuration", f"<pre>{text}</pre>")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m avjax.report.run_page", description=__doc__)
    parser.add_argument("workdir", help="the folder of a run")
    try:
        path = write(parser.parse_args(arguments).workdir)
    except FileNotFoundError as error:
        parser.error(str(error))
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
