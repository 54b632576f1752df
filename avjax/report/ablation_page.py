"""The report of an ablation: one offline page and its tables, from the finished runs."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

import matplotlib
from matplotlib.ticker import FixedLocator, NullLocator

from avjax.ablation import study as arithmetic
from avjax.ablation.study import Arm, Run
from avjax.report import ablation_summary, ablation_tables, html, plots, run_page
from avjax.report.ablation_tables import QUANTITIES, Row
from avjax.report.html import header_row, note
from avjax.runtime import csv_file
from avjax.runtime.metric_info import format_number

LINE_OFFSET = 0.07  # Octaves, at most, between lines at the same x.
LINE_STYLES = ("-", "--", ":", "-.", (0, (1, 3)), (0, (6, 1, 1, 1, 1, 1)))


def write(
    folder: Path,
    config: dict,
    arms: Sequence[Arm],
    runs: Sequence[Run],
    plans: Mapping[str, dict],
    results: Mapping[str, dict],
    failures: Mapping[str, str],
) -> Path:
    """Writes study.csv, runs.csv and report.html of a study.

    Args:
      folder: of the study.
      config: its config, with the study.
      arms, runs: of the study.
      planned: {arm: {"steps", "budget_error", "refused"}}.
      results: {run: result} of the finished runs.
      failures: {run: reason}.

    Returns:
      The path of the page.
    """
    folder, study = Path(folder), config["study"]
    main_runs = [run for run in runs if run.learning_rate is None]
    rows = [ablation_tables.make_row(arm, plans[arm.name], main_runs, results) for arm in arms]
    csv_file.write_csv(folder / "study.csv", ablation_tables.arm_lines(rows))
    csv_file.write_csv(folder / "runs.csv", ablation_tables.run_lines(runs, results))
    chosen = arithmetic.select_learning_rates(results, runs, study)
    remaining = {run.name: failures.get(run.name, "not finished") for run in runs}
    remaining = {name: failure for name, failure in remaining.items() if name not in results}
    remaining |= {r.name: reason for r in runs if (reason := plans[r.arm.name]["refused"])}
    title = f"{folder.resolve().name}: {study['title']}"
    page = [
        f"<h1>{escape(title)}</h1>", summary_table(study, rows, runs, results), "<h2>Findings</h2>",
        html.bullet_list(ablation_summary.findings(rows, study, chosen, list(remaining))),
        "<h2>Arms</h2>", table_html(ablation_tables.arm_lines(rows)),
        "<h2>Against the number of negatives K</h2>",
        panels(rows, lambda a: a.negatives, lambda a: f"B={a.batch}", "K"),
        "<h2>Against the size of the batch B</h2>",
        panels(rows, lambda a: a.batch, negatives_label, "B"),
        "<h2>Learning rates</h2>", tuning_table(study, runs, results, chosen),
        "<h2>Runs without a result</h2>", missing_runs(remaining),
        "<h2>How it was measured</h2>", NOTES, run_page.config_section(config),
    ]  # fmt: skip
    return html.write_page(folder / "report.html", title, page)


NOTES = note(
    "Retrieval is the mean of both directions, among all test records. Scores and loss are means "
    "over the last quarter of training; the score is the cosine. Step time is the median of the "
    "logged ones on this machine, including data loading. Memory and FLOPs of one step are those "
    "of the compiler, ahead of time; XLA counts the body of a loop once, so the further "
    "iterations of matrix products are added from the jaxpr. The false-negative rate is the sum "
    "of the squared class frequencies in train: the probability that another example has the same "
    "class; times K, the expected number. Brackets and bars are Student's 95 % intervals over "
    "seeds."
)


def summary_table(
    study: dict, rows: Sequence, runs: Sequence[Run], results: Mapping[str, dict]
) -> str:
    """Returns the settings of the study and its progress as HTML."""
    budget = f"{study['budget_per_run'][study['budget']]:,g} {study['budget']} per run"
    lines = {
        "Budget": f"{budget}; arms more than {study['tolerance']:.0%} off are refused",
        "Arms": len(rows),
        "Seeds": ", ".join(map(str, study["seeds"])),
        "Runs finished": f"{sum(run.name in results for run in runs)} of {len(runs)}",
    }
    cells = [f"<div><dt>{k}</dt><dd>{escape(str(v))}</dd></div>" for k, v in lines.items()]
    return f"<dl class=facts>{''.join(cells)}</dl>"


def table_html(lines: list[list]) -> str:
    """Returns the table of arms as HTML: a mean and its interval in one cell."""
    head, *rest = lines
    at = [i for i, name in enumerate(head) if not name.endswith((" low", " high"))]
    names = [QUANTITIES[head[i]][0] if head[i] in QUANTITIES else head[i] for i in at]

    def cell(line, i):
        if head[i] not in QUANTITIES or not line[i]:
            return escape(line[i])
        mean, low, high = (format_number(float(v)) if v else "" for v in line[i : i + 3])
        return f"{mean} <small>[{low}, {high}]</small>" if low else mean

    rows = [html.table_row(line[0], [cell(line, i) for i in at[1:]]) for line in rest]
    return f"<div class=wide><table>{header_row(names)}{''.join(rows)}</table></div>"


def negatives_label(arm: Arm) -> str:
    """Returns what is constant along a line against B."""
    whole = arm.strategy in arithmetic.BATCH_STRATEGIES and arm.negatives == arm.batch - 1
    return "K=B-1" if whole else f"K={arm.negatives}"


def panels(rows: Sequence[Row], x: Callable, group: Callable, label: str) -> str:
    """Returns one panel per quantity, one line per strategy, loss and `group`, and a legend."""
    kinds = list(dict.fromkeys((r.arm.strategy, r.arm.loss) for r in rows))
    groups = list(dict.fromkeys(group(r.arm) for r in rows))
    color = dict(zip(kinds, plots.color_cycle(len(kinds))))
    stroke = {g: LINE_STYLES[i % len(LINE_STYLES)] for i, g in enumerate(groups)}
    lines = {}
    for row in rows:
        lines.setdefault((row.arm.strategy, row.arm.loss, group(row.arm)), []).append(row)
    out = []
    for name, (title, _) in QUANTITIES.items():
        drawn = [
            (color[key[:2]], stroke[key[2]], sorted(members, key=lambda r: x(r.arm)))
            for key, rows_of in lines.items()
            if (members := [r for r in rows_of if name in r.values])
        ]
        if drawn:
            out.append(plots.panel(title, draw_panel(drawn, name, x, label)))
    if not out:
        return note("No arm has finished.")
    return f'{legend(color, stroke)}<div class="panels middle">{"".join(out)}</div>'


def draw_panel(lines: Sequence[tuple], name: str, x: Callable, label: str) -> str:
    """Plots one quantity with intervals against x on a logarithmic axis; returns SVG."""
    with matplotlib.rc_context(plots.STYLE):
        figure, axes = plots.make_axes(3.4)
        positions = set()
        offset = min(LINE_OFFSET, 0.6 / len(lines))
        for i, (color, stroke, rows) in enumerate(lines):
            shift = 2 ** (
                offset * (i - (len(lines) - 1) / 2)
            )  # Intervals at the same x do not overlap.
            at = [x(r.arm) * shift for r in rows]
            mean, low, high = zip(*(r.values[name] for r in rows))
            bars = [[m - a for m, a in zip(mean, low)], [b - m for m, b in zip(mean, high)]]
            axes.errorbar(
                at, mean, bars, color=color, linestyle=stroke, linewidth=1.3, elinewidth=0.8,
                marker="o", markersize=3, capsize=2,
            )  # fmt: skip
            positions |= {x(r.arm) for r in rows}
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator(spaced_ticks(sorted(positions))))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel(label)
        return plots.figure_to_svg(figure)


def spaced_ticks(positions: list[int]) -> list[int]:
    """Returns those of the sorted numbers that are far enough apart for tick labels."""
    kept = []
    for position in positions:
        if not kept or position > 1.25 * kept[-1]:
            kept.append(position)
    return kept


def legend(color: Mapping, strokes_of: Mapping) -> str:
    """Returns the legend of colors and line styles as HTML."""
    names = [
        f'<span style="color: {c}">&#9632;</span> {escape(strategy)}, {escape(loss)}'
        for (strategy, loss), c in color.items()
    ]
    strokes = []
    for group, stroke in strokes_of.items():
        dash = {"-": "", "--": "6 3", ":": "2 2", "-.": "6 2 2 2"}.get(stroke)
        dash = " ".join(map(str, stroke[1])) if dash is None else dash
        strokes.append(
            '<svg width="36" height="8" viewBox="0 0 36 8"><path d="M0 4H36" fill="none" '
            f'stroke="currentColor" stroke-width="1.5" stroke-dasharray="{dash}"/></svg> '
            f"{escape(group)}"
        )
    return f"<p class=note>{' &ensp; '.join(names + strokes)}</p>"


def tuning_table(
    study: dict, runs: Sequence[Run], results: Mapping[str, dict], chosen: Mapping[int, float]
) -> str:
    """Returns the validation score of each learning rate, and which was selected, as HTML."""
    tuning_runs = [run for run in runs if run.learning_rate is not None]
    if not tuning_runs:
        learning_rate = study["learning_rates"][0]
        text = "of the config" if learning_rate is None else f"{learning_rate:g}"
        return note(f"All arms use the learning rate {text}: nothing was selected.")
    rows = []
    for run in tuning_runs:
        found = results.get(run.name)
        score = arithmetic.tuning_score(found, study) if found else None
        words = "not finished" if score is None else format_number(score)
        words = "diverged" if found and found["diverged"] else words
        mark = "chosen" if chosen.get(run.arm.batch) == run.learning_rate else ""
        rows.append(
            html.table_row(
                run.arm.name, [f"{run.arm.batch}", f"{run.learning_rate:g}", words, mark]
            )
        )
    head = header_row(["arm", "B", "learning rate", "score", ""])
    notes_html = note(
        f"Score: the mean of {', '.join(study['tuning_metrics'])} on validation records at the end "
        f"of a run with seed {study['tuning_seed']}, which is not a seed of the study."
    )
    return f"{notes_html}<div class=wide><table>{head}{''.join(rows)}</table></div>"


def missing_runs(unfinished: dict) -> str:
    """Returns the runs that are not finished, with reasons, as HTML."""
    if not unfinished:
        return note("None: all runs are finished.")
    rows = [html.table_row(name, [escape(reason)]) for name, reason in unfinished.items()]
    return f"<table>{header_row(['run', 'reason'])}{''.join(rows)}</table>"
