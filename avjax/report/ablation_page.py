"""An ablation as one page that opens offline, and its tables, from what has finished."""

from html import escape
from pathlib import Path

import matplotlib
from matplotlib.ticker import FixedLocator, NullLocator

from avjax.ablation import study as arithmetic
from avjax.report import ablation_summary, ablation_tables, html, plots, run_page
from avjax.report.ablation_tables import QUANTITIES
from avjax.report.html import heading, none
from avjax.runtime.metric_info import number

APART = 0.07  # Octaves, at most, between lines at the same place of an axis.
LINES = ("-", "--", ":", "-.", (0, (1, 3)), (0, (6, 1, 1, 1, 1, 1)))


def write(folder, config: dict, arms, runs, planned, results, failures) -> Path:
    """Writes the tables and the page of a study; returns the page.

    results: {run: result} of finished runs.  failures: {run: why}.
    """
    folder, study = Path(folder), config["study"]
    mine = [run for run in runs if run.rate is None]
    rows = [ablation_tables.row_of(arm, planned[arm.name], mine, results) for arm in arms]
    ablation_tables.save(folder / "study.csv", ablation_tables.arms(rows))
    ablation_tables.save(folder / "runs.csv", ablation_tables.runs(runs, results))
    chosen = arithmetic.rates_of(results, runs, study)
    left = {run.name: failures.get(run.name, "not finished") for run in runs}
    left = {name: why for name, why in left.items() if name not in results}
    left |= {r.name: why for r in runs if (why := planned[r.arm.name]["refused"])}
    title = f"{folder.resolve().name}: {study['title']}"
    page = [
        f"<h1>{escape(title)}</h1>", facts(study, rows, runs, results), "<h2>Findings</h2>",
        html.listed(ablation_summary.sentences(rows, study, chosen, list(left))),
        "<h2>Arms</h2>", shown(ablation_tables.arms(rows)),
        "<h2>Against the number of negatives K</h2>",
        panels(rows, lambda a: a.negatives, lambda a: f"B={a.batch}", "K"),
        "<h2>Against the size of the batch B</h2>",
        panels(rows, lambda a: a.batch, stock, "B"),
        "<h2>Learning rates</h2>", tuning(study, runs, results, chosen),
        "<h2>Runs without a result</h2>", missing(left),
        "<h2>How it was measured</h2>", NOTES, run_page.config_part(config),
    ]  # fmt: skip
    return html.save(folder / "report.html", title, page)


NOTES = none(
    "Retrieval is the mean of both directions, among all test records. Scores and loss are means "
    "over the last quarter of training; the score is the cosine. Step time is the median "
    "of the logged ones, "
    "of this machine, data loading included. Memory and FLOPs are the compiler's for one step, "
    "ahead of time; XLA counts the body of a loop once, so what the products in loops do beyond "
    "that is added from the traced program. The false-negative rate is the sum of the squared "
    "shares of the classes in train: how likely another example is of one's own class; "
    "times K, the number expected. Brackets and bars are 95 % intervals over seeds (Student)."
)


def facts(study, rows, runs, results) -> str:
    """What the study compares, and how much of it is done."""
    amount = f"{study['amount'][study['budget']]:,g} {study['budget']} per run"
    lines = {
        "Budget": f"{amount}; arms more than {study['tolerance']:.0%} off are refused",
        "Arms": len(rows),
        "Seeds": ", ".join(map(str, study["seeds"])),
        "Runs finished": f"{sum(run.name in results for run in runs)} of {len(runs)}",
    }
    cells = [f"<div><dt>{k}</dt><dd>{escape(str(v))}</dd></div>" for k, v in lines.items()]
    return f"<dl class=facts>{''.join(cells)}</dl>"


def shown(lines) -> str:
    """The table of arms as HTML: a mean and its interval in one cell."""
    head, *rest = lines
    at = [i for i, name in enumerate(head) if not name.endswith((" low", " high"))]
    names = [QUANTITIES[head[i]][0] if head[i] in QUANTITIES else head[i] for i in at]

    def cell(line, i):
        if head[i] not in QUANTITIES or not line[i]:
            return escape(line[i])
        mean, low, high = (number(float(v)) if v else "" for v in line[i : i + 3])
        return f"{mean} <small>[{low}, {high}]</small>" if low else mean

    rows = [html.row(line[0], [cell(line, i) for i in at[1:]]) for line in rest]
    return f"<div class=wide><table>{heading(names)}{''.join(rows)}</table></div>"


def stock(arm) -> str:
    """What stays the same along a line against B."""
    whole = arm.strategy in arithmetic.WITHIN and arm.negatives == arm.batch - 1
    return "K=B-1" if whole else f"K={arm.negatives}"


def panels(rows, x, group, label) -> str:
    """A panel a quantity, a line for each strategy, loss and `group`; their legend above."""
    kinds = list(dict.fromkeys((r.arm.strategy, r.arm.loss) for r in rows))
    groups = list(dict.fromkeys(group(r.arm) for r in rows))
    color = dict(zip(kinds, plots.cycle(len(kinds))))
    stroke = {g: LINES[i % len(LINES)] for i, g in enumerate(groups)}
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
            out.append(plots.panel(title, draw(drawn, name, x, label)))
    if not out:
        return none("No arm has finished.")
    return f'{legend(color, stroke)}<div class="panels middle">{"".join(out)}</div>'


def draw(lines, name, x, label) -> str:
    """One quantity of the arms, with intervals, against x on a logarithmic axis."""
    with matplotlib.rc_context(plots.STYLE):
        figure, axes = plots.canvas(3.4)
        places = set()
        apart = min(APART, 0.6 / len(lines))
        for i, (color, stroke, rows) in enumerate(lines):
            shift = 2 ** (apart * (i - (len(lines) - 1) / 2))  # Intervals at one place stay apart.
            at = [x(r.arm) * shift for r in rows]
            mean, low, high = zip(*(r.values[name] for r in rows))
            bars = [[m - a for m, a in zip(mean, low)], [b - m for m, b in zip(mean, high)]]
            axes.errorbar(
                at, mean, bars, color=color, linestyle=stroke, linewidth=1.3, elinewidth=0.8,
                marker="o", markersize=3, capsize=2,
            )  # fmt: skip
            places |= {x(r.arm) for r in rows}
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator(thinned(sorted(places))))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel(label)
        return plots.svg(figure)


def thinned(places: list[int]) -> list[int]:
    """Those of sorted numbers that are far enough apart to be written at an axis."""
    kept = []
    for place in places:
        if not kept or place > 1.25 * kept[-1]:
            kept.append(place)
    return kept


def legend(color, strokes_of) -> str:
    """What the colors and the strokes of the panels stand for."""
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


def tuning(study, runs, results, chosen) -> str:
    """What each learning rate scored on validation records, and which was taken."""
    tries = [run for run in runs if run.rate is not None]
    if not tries:
        rate = study["rates"][0]
        said = "of the config" if rate is None else f"{rate:g}"
        return none(f"The learning rate {said} for all arms: nothing was chosen.")
    rows = []
    for run in tries:
        found = results.get(run.name)
        score = arithmetic.tuning_score(found, study) if found else None
        words = "not finished" if score is None else number(score)
        words = "diverged" if found and found["diverged"] else words
        mark = "chosen" if chosen.get(run.arm.batch) == run.rate else ""
        rows.append(html.row(run.arm.name, [f"{run.arm.batch}", f"{run.rate:g}", words, mark]))
    head = heading(["arm", "B", "rate", "score", ""])
    note = none(
        f"Score: the mean of {', '.join(study['metrics'])} on validation records at the end of a "
        f"run of seed {study['tuning_seed']}, which is none of the seeds of the study."
    )
    return f"{note}<div class=wide><table>{head}{''.join(rows)}</table></div>"


def missing(left: dict) -> str:
    if not left:
        return none("None: all have finished.")
    rows = [html.row(name, [escape(why)]) for name, why in left.items()]
    return f"<table>{heading(['run', 'why'])}{''.join(rows)}</table>"
