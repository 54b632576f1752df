"""The plan of a run as one offline page."""

from html import escape
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from avjax.planning import roofline, tables
from avjax.planning.plan import Plan
from avjax.report import html, plots


def write(path: Path, plan: Plan, name: str) -> Path:
    """Writes the page of a plan and returns its path.

    Args:
      path: the file.
      plan: the plan.
      name: of the config.
    """
    title = tables.title(plan, name)
    page = [f"<h1>{escape(title)}</h1>", f"<p class=lead>{escape(summary(plan))}</p>"]
    panels = plots.panel("memory of a device, GB", memory_plot(plan))
    if plan.times:
        panels += plots.panel("a step at the peaks of the device, ms", time_plot(plan))
    page.append(f'<div class="panels large">{panels}</div>')
    for table in tables.tables(plan):
        rows = "".join(html.table_row(row[0], [escape(c) for c in row[1:]]) for row in table.rows)
        page += [
            f"<h2>{escape(table.title)}</h2>",
            html.note(table.note) if table.note else "",
            f"<div class=wide><table>{html.header_row(table.header)}{rows}</table></div>",
        ]
    return html.write_page(path, title, page)


def summary(plan: Plan) -> str:
    """Returns whether a run fits and how fast it may be, in one or two sentences."""
    total, capacity = sum(plan.memory.values()), plan.topology.chip.memory
    fits = "fits" if total <= capacity else "does not fit"
    words = f"It {fits}: {tables.size_text(total)} of {tables.size_text(capacity)} of a device"
    if plan.times is None:
        return f"{words}."
    batch, t = plan.config["batch_size"], plan.times
    return (
        f"{words}. At most {batch / t.least:,.0f} clips/s; {batch / t.expected:,.0f} at "
        f"{plan.options.mfu:.0%} of the peak FLOP/s and {roofline.SHARE_OF_BANDWIDTH:.0%} of the "
        "memory's bandwidth."
    )


def memory_plot(plan: Plan) -> str:
    """Returns the memory by kind as one bar against that of the device, as SVG."""
    with matplotlib.rc_context(plots.STYLE):
        figure = Figure(figsize=(6.4, 2.4), layout="constrained")
        axes, left, bars = figure.add_subplot(), 0.0, []
        for color, size in zip(plots.color_cycle(len(plan.memory)), plan.memory.values()):
            bars.append(axes.barh([0], [size / 1e9], left=left / 1e9, color=color))
            left += size
        names = list(plan.memory)
        bars.append(axes.axvline(plan.topology.chip.memory / 1e9, color=plots.INK, linestyle=":"))
        plots.legend(axes, bars, [*names, "a device has"])
        axes.set_yticks([])
        axes.set_xlabel("GB")
        axes.set_ylim(-0.5, 2.6)  # Room for the legend.
        return plots.figure_to_svg(figure)


def time_plot(plan: Plan) -> str:
    """Returns the times of compute, memory and links as bars, as SVG."""
    assert plan.times is not None
    t = plan.times
    with matplotlib.rc_context(plots.STYLE):
        figure = Figure(figsize=(6.4, 2.4), layout="constrained")
        axes = figure.add_subplot()
        names, values = ["links", "memory", "compute"], [t.links, t.memory, t.compute]
        axes.barh(names, [1e3 * value for value in values], color=plots.COLORS[0])
        axes.axvline(1e3 * t.expected, color=plots.INK, linestyle=":", label="expected step")
        axes.legend(frameon=False, fontsize=8)
        axes.set_xlabel("ms")
        return plots.figure_to_svg(figure)
