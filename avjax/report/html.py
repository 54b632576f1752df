"""A run's folder as one page that opens offline: `python -m avjax.report.html WORKDIR`.

Reads config.json, metrics.csv (step,name,value) and evals/<suite>.npz; what is missing is
said on the page.  Nothing is loaded from elsewhere: styles, plots and pictures are inside.
"""

import argparse
import csv
import json
import math
import os
import re
from html import escape
from pathlib import Path

import numpy as np

from avjax import logs
from avjax.atomic import write_atomic
from avjax.report import agreement, gallery, plots
from avjax.report.style import HEAD, heading, none, number, row

ONCE = "One evaluation so far: curves need two."
LOWER = ("rank", "loss", "error")  # Words of metrics that are better when lower.


def write(workdir: str | os.PathLike) -> Path:
    """Writes `report.html` into a run's folder and returns its path."""
    workdir = Path(workdir)
    if not workdir.is_dir():
        raise FileNotFoundError(f"{workdir} is no folder: give the --workdir of a run")
    config, trouble = read_config(workdir / "config.json")
    curves, torn = read_metrics(workdir / "metrics.csv")
    if torn:
        trouble.append(f"metrics.csv has {torn} lines that are no step,name,value: left out.")
    evals = {n: curve for n, curve in curves.items() if re.match("eval/.*/", n)}
    training = {name: curve for name, curve in curves.items() if name not in evals}
    name = workdir.resolve().name
    parts = {
        "Training": training_part(training),
        "Evaluation": evaluation_part(evals),
        "Retrieval gallery": gallery.part(workdir / "evals"),
        "Agreement": agreement.part(workdir / "evals"),
        "Configuration": config_part(config),
    }
    page = [HEAD.replace("TITLE", escape(f"{name}: report of a run")), f"<h1>{escape(name)}</h1>"]
    page += [none(line) for line in trouble] + [facts(config, training)]
    page += [f"<h2>{title}</h2>\n{part}" for title, part in parts.items()] + ["</body></html>\n"]
    path = workdir / "report.html"
    write_atomic(path, "\n".join(page))  # A reader never finds half a page.
    return path


def read_config(path: Path) -> tuple[dict, list[str]]:
    """(the run's config, what is wrong with it)"""
    if not path.exists():
        return {}, ["config.json is missing: batch size, method and seed are not known here."]
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        return {}, [f"config.json cannot be read: {error}"]
    return (config, []) if isinstance(config, dict) else ({}, ["config.json is no mapping."])


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


def facts(config: dict, training: dict) -> str:
    """The key facts of a run as a table."""
    method, optimizer = config.get("method"), config.get("optimizer")
    rows = {
        "Method": method.get("fn") if isinstance(method, dict) else method,
        "Optimizer": optimizer.get("fn") if isinstance(optimizer, dict) else optimizer,
        "Batch size": config.get("batch_size"),
        "Seed": config.get("seed"),
    }
    last = max((int(x[-1]) for x, _ in training.values()), default=None)
    planned = config.get("steps")
    if last is not None:
        rows["Steps"] = f"{last:,}" + (f" of {planned:,}" if isinstance(planned, int) else "")
        if isinstance(config.get("batch_size"), int):
            rows["Clips seen"] = f"{last * config['batch_size']:,}"
    if "parameters" in training:
        rows["Parameters"] = f"{training['parameters'][1][-1]:,.0f}"
    if "loss" in training:
        loss = training["loss"][1]
        rows["Loss, first to last"] = f"{number(loss[0])} to {number(loss[-1])}"
        if not np.isfinite(loss).all():
            rows["Loss not finite"] = f"at {(~np.isfinite(loss)).sum()} of {len(loss)} logged steps"
    names = ("clips_per_second", "wait_share", "transfer_share")
    clips, *waits = (np.nanmedian(training[n][1]) if n in training else None for n in names)
    if clips is not None:
        rows["Clips a second"] = f"{number(clips)} (median)"
    if None not in waits:
        rows["Speed"] = f"{logs.bound(*waits)} (medians)"
    lines = [
        f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>"
        for name, value in rows.items()
        if value is not None
    ]
    return f"<table>{''.join(lines)}</table>"


def training_part(training: dict) -> str:
    """The curves of training, and their ends in numbers."""
    if not training:
        return none("No training metrics: metrics.csv is missing or empty.")
    lines = ""
    for name, (_, y) in training.items():
        good = y[np.isfinite(y)]
        cells = [y[0], y[-1], *([good.min(), good.max()] if len(good) else [math.nan] * 2)]
        lines += row(name, [number(v) for v in cells])
    table = heading(["metric", "first", "last", "lowest", "highest"]) + lines
    return (
        f"{plots.training(training)}<details><summary>All training metrics</summary>"
        f"<div class=wide><table>{table}</table></div></details>"
    )


def evaluation_part(evals: dict) -> str:
    """For each suite: untrained, last and best value of every metric, and its curve."""
    if not evals:
        return none("No evaluation has been logged yet.")
    suites = {}
    for name, curve in evals.items():
        suites.setdefault(name.split("/")[1], {})[name] = curve
    return "".join(
        f"<h3>{escape(suite)}</h3>{evaluation_table(curves)}"
        f"{plots.evaluation(curves) or none(ONCE)}"
        for suite, curves in suites.items()
    )


def evaluation_table(curves: dict) -> str:
    """One line a metric: untrained (step 0), last, best."""
    end = max(int(x[-1]) for x, _ in curves.values())
    lines = ""
    for name, (x, y) in curves.items():
        leaf = name.split("/")[-1]
        untrained = number(y[0]) if x[0] == 0 else "–"
        last = number(y[-1]) + ("" if x[-1] == end else f" <small>step {x[-1]:,}</small>")
        best = "–"
        if leaf not in plots.FIXED and np.isfinite(y).any():
            at = np.nanargmin(y) if any(word in leaf for word in LOWER) else np.nanargmax(y)
            best = f"{number(y[at])} <small>step {x[at]:,}</small>"
        lines += row(name, [untrained, last, best])
    started = any(x[0] == 0 for x, _ in curves.values())
    note = "" if started else none("No evaluation at step 0: nothing to compare the net with.")
    head = heading(["metric", "untrained", f"last (step {end:,})", "best"])
    return f"{note}<div class=wide><table>{head}{lines}</table></div>"


def config_part(config: dict) -> str:
    if not config:
        return none("Not known.")
    text = escape(json.dumps(config, indent=2, ensure_ascii=False))
    return f"<details><summary>The whole configuration</summary><pre>{text}</pre></details>"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m avjax.report.html", description=__doc__)
    parser.add_argument("workdir", help="the folder of a run")
    try:
        path = write(parser.parse_args(arguments).workdir)
    except FileNotFoundError as error:
        parser.error(str(error))
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
