"""A plan as tables of text, for the terminal and for the page."""

from typing import NamedTuple

from avjax.planning import capacity, estimate, roofline
from avjax.planning.plan import Plan

DAY = 86_400
NUM_COLLECTIVES = 8  # In the terminal; the page has all.
LIMITS = {
    "memory": "",
    "records": "all records are in one batch",
    "queue": "the queue is full of one batch",
    "search": f"not looked for beyond {capacity.MOST:,}",
}


class Table(NamedTuple):
    """A table.

    Attributes:
      title: of the table.
      note: what the figures are.
      header: names of the columns.
      rows: text.
    """

    title: str
    note: str
    header: list[str]
    rows: list[list[str]]


def tables(plan: Plan, num_collectives: int | None = None) -> list[Table]:
    """Returns all tables of a plan.

    Args:
      plan: the plan.
      num_collectives: how many rows of collectives; None for all.
    """
    found = [memory(plan), work(plan), collectives(plan, num_collectives)]
    if plan.times:
        found += [times(plan), decoding(plan)]
    if plan.options.search:
        found.append(largest(plan))
    return found


def memory(plan: Plan) -> Table:
    """Returns the memory of a device by kind."""
    capacity_, total = plan.topology.chip.memory, sum(plan.memory.values())
    rows = [
        [kind, size_text(size), f"{size / capacity_:.1%}"] for kind, size in plan.memory.items()
    ]
    fits = "fits" if total <= capacity_ else "DOES NOT FIT"
    rows.append(["all", size_text(total), f"{total / capacity_:.1%} ({fits})"])
    rows.append([f"a device has ({plan.topology.chip.title})", size_text(capacity_), ""])
    return Table("Memory of a device", memory_note(plan), ["kind", "bytes", "share"], rows)


def memory_note(plan: Plan) -> str:
    """Returns what the figures of memory are."""
    if plan.step is None:
        return (
            "Only the loss was compiled. The temporaries of the nets are an estimate: what the "
            "forward pass of a chunk keeps for its backward pass, twice the largest of these "
            "arrays, and the gradients. A compiler recomputes some of them, and pads others."
        )
    if plan.step.refused:
        return f"The compiler refuses the step: {plan.step.refused}"
    return "The compiler's account of the whole step."


def work(plan: Plan) -> Table:
    """Returns FLOPs, bytes and seconds of compilation."""
    batch, count = plan.config["batch_size"], plan.topology.count
    compiled = plan.step is not None and not plan.step.refused
    how = "as the compiler counts them, loops included" if compiled else "estimated"
    rows = [
        ["products and convolutions, a step and device", f"{plan.flops:.4g} FLOP"],
        ["the same, a clip", f"{plan.flops * count / batch / 1e9:,.1f} GFLOP"],
        ["bytes read and written, a step and device", f"{size_text(plan.traffic)} ({how})"],
        ["bytes sent to other devices, a step and device",
         size_text(roofline.sent(plan.collectives))],
        ["compilation, all programs", f"{plan.compile_seconds:,.0f} s"],
    ]  # fmt: skip
    return Table("Work of a step", "", ["", ""], rows)


def collectives(plan: Plan, most: int | None) -> Table:
    """Returns the collectives, the largest first."""
    shown = plan.collectives[:most]
    rows = [
        [one.op, shorten(one.arrays), f"{one.group}", f"{one.count:,}", size_text(one.size),
         size_text(one.size * one.count)]
        for one in shown
    ]  # fmt: skip
    left = len(plan.collectives) - len(shown)
    note = f"{sum(one.count for one in plan.collectives):,} collectives a step. "
    if plan.step is None or plan.step.refused:
        note = "Those of the loss alone, and the sum of the gradients; batch statistics add more. "
    note += f"{left:,} smaller kinds are left out." if left else ""
    header = ["operation", "arrays", "devices", "times", "bytes each", "bytes in all"]
    return Table("Collectives", note.strip(), header, rows)


def times(plan: Plan) -> Table:
    """Returns seconds of a step and rates."""
    assert plan.times is not None
    t, chip, batch = plan.times, plan.topology.chip, plan.config["batch_size"]
    rows = [
        ["compute, at the peak", seconds_text(t.compute), f"{chip.flops / 1e12:g} TFLOP/s, bf16"],
        ["memory, at the peak", seconds_text(t.memory), f"{chip.bandwidth / 1e9:g} GB/s"],
        ["links, at the peak", seconds_text(t.links), f"{chip.link / 1e9:g} GB/s each way"],
        ["a step takes at least", seconds_text(t.least), f"{batch / t.least:,.0f} clips/s"],
        ["a step, expected", seconds_text(t.expected), f"{batch / t.expected:,.0f} clips/s"],
        ["epochs a day, expected", f"{DAY * batch / t.expected / plan.epoch:,.2f}",
         f"of {plan.epoch:,} clips"],
        ["the whole run, expected", f"{t.expected * plan.config['steps'] / 3600:,.1f} h",
         f"{plan.config['steps']:,} steps"],
    ]  # fmt: skip
    note = (
        f"Expected: {plan.options.mfu:.0%} of the peak FLOP/s or "
        f"{roofline.SHARE_OF_BANDWIDTH:.0%} of the memory's bytes/s, whichever takes longer, and "
        "the links beside it. These shares are assumed and not measured; the latency of "
        f"collectives is not counted. Records: {plan.options.records:,} "
        f"({plan.options.records_from})."
    )
    return Table("Time", note, ["", "", ""], rows)


def decoding(plan: Plan) -> Table:
    """Returns the rate at which the hosts must decode, and their cores."""
    assert plan.times is not None
    rate, hosts = plan.config["batch_size"] / plan.times.expected, plan.topology.hosts
    cores = rate / plan.options.clips_per_core
    rows = [
        ["all hosts", f"{rate:,.0f} clips/s", f"{cores:,.0f} cores"],
        [f"each of {hosts} hosts", f"{rate / hosts:,.0f} clips/s", f"{cores / hosts:,.1f} cores"],
    ]
    note = (
        f"With {plan.options.clips_per_core:g} clips/s a core (--clips_per_core). "
        "benchmarks/data.py measures yours; docs/results/data.md has 475 from shards and 47.5 from "
        "files, for 8 frames of short side 128 and 2 s of audio."
    )
    return Table("Decoding for the expected step", note, ["", "rate", "cores"], rows)


def largest(plan: Plan) -> Table:
    """Returns the largest global batch by source of negatives and chunks."""
    chunks = list(dict.fromkeys(row.chunks for row in plan.largest))
    found = {(row.source, row.chunks): row for row in plan.largest}
    names = list(dict.fromkeys(row.source for row in plan.largest))
    rows = []
    for name in names:
        cells = [found[name, c] for c in chunks]
        limits = {LIMITS[cell.limit] for cell in cells} - {""}
        rows.append(
            [name or "(no negatives)", *(f"{c.batch:,}" if c.batch else "none" for c in cells),
             "; ".join(sorted(limits))]
        )  # fmt: skip
    basis = "the compiled step" if plan.step else "the estimated step"
    note = (
        f"Extrapolated from {basis} and from the loss alone, compiled at "
        "three batch sizes with each source; not compiled at these sizes."
    )
    header = ["negatives", *(f"chunks={c}" for c in chunks), ""]
    return Table("Largest global batch that fits", note, header, rows)


def title(plan: Plan, name: str) -> str:
    """Returns one line: what is planned.

    Args:
      plan: the plan.
      name: of the config.
    """
    words = [f"{name} on {plan.topology.text}: batch {plan.config['batch_size']:,}"]
    words += [plan.source] if plan.source else []
    chunks = estimate.num_chunks(plan.config)
    words += [f"{chunks} chunks"] if chunks > 1 else []
    return ", ".join(words) + (" (quick)" if plan.options.quick else "")


def as_markdown(table: Table) -> str:
    """Returns a table as Markdown, aligned for a terminal."""
    rows = [table.header, *table.rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.header))]
    line = lambda row: "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths)) + " |"
    body = [line(table.header), "|" + "|".join("-" * (w + 2) for w in widths) + "|"]
    note = [f"\n{table.note}"] if table.note else []
    return "\n".join([f"## {table.title}", *note, "", *body, *map(line, table.rows), ""])


def size_text(size: float) -> str:
    """Returns bytes in decimal units."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:,.2f} {unit}"
    return f"{size:,.0f} B"


def seconds_text(seconds: float) -> str:
    """Returns seconds, or milliseconds if they are few."""
    return f"{seconds:,.2f} s" if seconds >= 10 else f"{1e3 * seconds:,.2f} ms"


def shorten(arrays: str) -> str:
    """Returns the first of a list of arrays, and how many there are."""
    first, *others = arrays.split(", ")
    return f"{first} and {len(others)} more" if others else first
