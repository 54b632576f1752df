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
from avjax.report import gallery, plots

ONCE = "One evaluation so far: curves need two."
LOWER = ("rank", "loss", "error")  # Words of metrics that are better when lower.

HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>TITLE</title><style>
:root { color-scheme: light dark; --page: #fbfbfa; --card: #fff; --ink: #22252a;
  --soft: #666d76; --line: #e3e5e8; --right: #1a9a4b; --wrong: #d4483f; --query: #2f81f7 }
@media (prefers-color-scheme: dark) { :root { --page: #16181c; --card: #1e2126; --ink: #e4e6ea;
  --soft: #9aa2ad; --line: #33373e; --right: #3cc774; --wrong: #f0716a; --query: #62a5ff } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 76rem; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 1.7rem; margin: 0 0 .2rem; overflow-wrap: anywhere }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .8rem; padding-bottom: .3rem;
  border-bottom: 1px solid var(--line) }
h3, h4 { margin: 1.6rem 0 .5rem; font-size: 1rem }
.note, .none, .rank { color: var(--soft); margin: .2rem 0 .8rem; font-size: .87rem }
.none { border-left: 3px solid var(--line); padding-left: .8rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .28rem 1rem .28rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere }
.wide { overflow-x: auto } .wide td + td, .wide th + th { text-align: right; white-space: nowrap }
.wide td:first-child { white-space: nowrap } th { color: var(--soft); font-weight: 500 }
td small { color: var(--soft) }
.panels { display: grid; gap: .9rem; margin: .9rem 0;
  grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)) }
.panels.large { grid-template-columns: repeat(auto-fill, minmax(min(30rem, 100%), 1fr)) }
.panel { margin: 0; padding: .7rem .8rem .4rem; background: var(--card);
  border: 1px solid var(--line); border-radius: 8px }
.panel figcaption { font-weight: 600; font-size: .87rem; overflow-wrap: anywhere }
.panel svg { width: 100%; height: auto; display: block }
svg * { stroke-linejoin: round } svg text { font-family: inherit }
.line { display: flex; flex-wrap: wrap; gap: .5rem; align-items: flex-start;
  padding: .6rem 0; border-top: 1px solid var(--line) }
.line .rank { flex-basis: 100%; margin: 0 }
.tile { margin: 0; width: 8.6rem } .tile div { display: flex; gap: 3px; padding: 3px;
  border: 3px solid var(--line); border-radius: 6px; align-items: flex-end }
.tile.query { margin-right: 1rem } .tile.query div { border-color: var(--query) }
.tile.right div { border-color: var(--right) } .tile.wrong div { border-color: var(--wrong) }
.tile.right b { color: var(--right) } .tile.wrong b { color: var(--wrong) }
.tile.query b { color: var(--query) }
.tile img { display: block; border-radius: 2px; min-width: 0 }
.tile img.main { width: 62% } .tile img.aside { width: 38%; opacity: .75 }
.tile figcaption { font-size: .74rem; line-height: 1.3; overflow-wrap: anywhere }
.gap { align-self: center; color: var(--soft) }
details { margin: 1rem 0 } summary { cursor: pointer; color: var(--soft) }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 1rem;
  overflow-x: auto; font-size: .8rem }
</style></head><body>
"""


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
        "Configuration": config_part(config),
    }
    page = [HEAD.replace("TITLE", escape(f"{name}: report of a run")), f"<h1>{escape(name)}</h1>"]
    page += [none(line) for line in trouble] + [facts(config, training)]
    page += [f"<h2>{title}</h2>\n{part}" for title, part in parts.items()] + ["</body></html>\n"]
    path = workdir / "report.html"
    draft = workdir / "report.html.part"
    draft.write_text("\n".join(page), encoding="utf-8")
    os.replace(draft, path)  # A reader never finds half a page.
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


def none(text: str) -> str:
    return f"<p class=none>{escape(text)}</p>"


def heading(names: list[str]) -> str:
    return f"<tr>{''.join(f'<th>{escape(name)}</th>' for name in names)}</tr>"


def row(name: str, cells: list[str]) -> str:
    """A line of a table; `cells` are HTML."""
    return f"<tr><td>{escape(name)}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def number(value: float) -> str:
    """Four significant digits, and thousands in full."""
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"


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
