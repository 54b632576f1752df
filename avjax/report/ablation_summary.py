"""An auto-generated summary of an ablation with caveats."""

from collections.abc import Sequence

from avjax.ablation.study import BATCH_STRATEGIES, BUDGETS, REPORT_METRICS
from avjax.report.ablation_tables import Row

KEY = "key"  # Name in the values of a row of the metric by which arms are compared.


def findings(rows: Sequence[Row], study: dict, chosen: dict, unfinished: list[str]) -> list[str]:
    """Returns findings as sentences, on the arms that have results.

    Args:
      rows: as `ablation_tables.make_row` returns them.
      study: the study.
      chosen: {batch size: learning rate}.
      unfinished: names of the runs that are missing, failed or refused.
    """
    key = study["report_metric"]
    name = REPORT_METRICS[key]
    rows = [
        row._replace(values=row.values | {KEY: row.values[key]})
        for row in rows
        if key in row.values
    ]
    if not rows:
        return [f"No findings yet: no finished run has {name} (study.report_metric)."]
    found = [
        *compare_sources(rows, name), sufficient_batch(rows, name),
        *effect_of_negatives(rows, name), effect_of_batch(rows, name), effect_of_dcl(rows, name),
        *caveats(rows, study, chosen, unfinished),
    ]  # fmt: skip
    return [sentence for sentence in found if sentence]


def compare(one: Row, other: Row) -> str:
    """Compares two rows by their intervals; without intervals (one seed) nothing is decided."""
    (_, low, high), (_, low2, high2) = one.values[KEY], other.values[KEY]
    if low > high2:
        return "beats"
    if high < low2:
        return "trails"
    return "cannot be distinguished from"  # Not "equals": the intervals may be wide.


def format_value(row: Row) -> str:
    """Formats the mean and interval of the main metric."""
    mean, low, high = row.values[KEY]
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]" if row.seeds > 1 else f"{mean:.1f} [one seed]"


def arm_label(row: Row) -> str:
    """Returns batch size and number of negatives of an arm."""
    return f"B={row.arm.batch}, K={row.arm.negatives}"


def compare_sources(rows: Sequence[Row], name: str) -> list[str]:
    """Compares in-batch negatives with each memory at equal B, K and loss, and their costs."""
    out = []
    stores = dict.fromkeys(r.arm.strategy for r in rows if r.arm.strategy not in BATCH_STRATEGIES)
    for within in dict.fromkeys(r.arm.strategy for r in rows if r.arm.strategy in BATCH_STRATEGIES):
        for store in stores:
            pairs = matched_arms(rows, within, store)
            if not pairs:
                out.append(f"No arm of {within} has the same B, K and loss as one of {store}.")
                continue
            found = {}
            for one, other in pairs:
                text = (
                    f"{arm_label(one)} ({name} {format_value(one)} against {format_value(other)})"
                )
                found.setdefault(compare(one, other), []).append(text)
            details = "; ".join(f"{how} {store} at {', '.join(at)}" for how, at in found.items())
            costs = [
                cost_ratio(pairs, "seconds_per_step", "step time"),
                cost_ratio(pairs, "peak", "memory"),
            ]
            costs = " and ".join(cost for cost in costs if cost)
            out.append(f"At equal B and K, {within} {details}{f', at {costs}' if costs else ''}.")
    return out


def matched_arms(rows: Sequence[Row], within: str, store: str) -> list[tuple[Row, Row]]:
    """Returns pairs of arms that differ in the source of negatives only.

    Args:
      rows: of the arms.
      within, store: strategies of the first and second of a pair.
    """
    other = {(r.arm.batch, r.arm.negatives, r.arm.loss): r for r in rows if r.arm.strategy == store}
    keys = [(r, (r.arm.batch, r.arm.negatives, r.arm.loss)) for r in rows]
    return [(r, other[k]) for r, k in keys if r.arm.strategy == within and k in other]


def cost_ratio(pairs: Sequence[tuple[Row, Row]], name: str, words: str) -> str:
    """Returns the ratio of a cost between the first and second of each pair, as text.

    Args:
      pairs: of arms.
      name: of the cost.
      words: its name in the text.
    """
    both = [p for p in pairs if all(name in row.values for row in p)]
    found = sorted(one.values[name][0] / other.values[name][0] for one, other in both)
    if not found:
        return ""
    span = f"{found[0]:.2f}" if f"{found[0]:.2f}" == f"{found[-1]:.2f}" else None
    return f"{span or f'{found[0]:.2f} to {found[-1]:.2f}'} times the {words}"


def full_batch_arms(rows: Sequence[Row], loss: str = "info_nce") -> list[Row]:
    """Returns the arms whose negatives are all other examples of the batch, sorted by B."""
    found = [
        r for r in rows
        if r.arm.strategy in BATCH_STRATEGIES and r.arm.loss == loss
        and r.arm.negatives == r.arm.batch - 1
    ]  # fmt: skip
    return sorted(found, key=lambda r: r.arm.batch)


def sufficient_batch(rows: Sequence[Row], name: str) -> str:
    """Returns the smallest B from which the batch is as good as the best bank of any size."""
    banks = [r for r in rows if r.arm.strategy.startswith("bank") and r.arm.loss == "info_nce"]
    arms = full_batch_arms(rows)
    if not banks or not arms:
        return ""
    best = max(banks, key=lambda r: r.values[KEY][0])
    details = f"the best bank ({arm_label(best)}, {name} {format_value(best)})"
    good = []
    for row in reversed(arms):
        if compare(row, best) == "trails":
            break
        good.append(row)
    if not good:
        return f"At no tested B does the whole batch reach {details}."
    smallest = good[-1]
    start = "At every tested B" if len(good) == len(arms) else f"From B={smallest.arm.batch} on"
    reached = f"{format_value(smallest)} at {arm_label(smallest)}"
    return f"{start} the whole batch is not below {details}: {reached}."


def trend(rows: Sequence[Row]) -> str:
    """Returns the first and last value with intervals, and whether they differ, as text."""
    first, last = rows[0], rows[-1]
    words = {"beats": "rises", "trails": "falls"}.get(compare(last, first), "shows no clear change")
    return f"{words} ({format_value(first)} to {format_value(last)})"


def effect_of_negatives(rows: Sequence[Row], name: str) -> list[str]:
    """Returns the trend from the smallest to the largest K, at each B of each source."""
    groups = {}
    for row in rows:
        if row.arm.loss == "info_nce":
            groups.setdefault((row.arm.strategy, row.arm.batch), []).append(row)
    out = []
    for (strategy, batch), group in groups.items():
        group = sorted(group, key=lambda r: r.arm.negatives)
        if len(group) > 1:
            low, high = group[0].arm.negatives, group[-1].arm.negatives
            out.append(f"{strategy} at B={batch}, K={low} to {high}: {trend(group)}")
    return [f"{name} against K at fixed B: {'; '.join(out)}."] if out else []


def effect_of_batch(rows: Sequence[Row], name: str) -> str:
    """Returns the trend from the smallest to the largest B, with the whole batch as negatives."""
    arms = full_batch_arms(rows)
    if len(arms) < 2:
        return ""
    span = f"B={arms[0].arm.batch} to {arms[-1].arm.batch}"
    return f"With all of the batch as negatives, {span}, {name} {trend(arms)}."


def effect_of_dcl(rows: Sequence[Row], name: str) -> str:
    """Returns the difference between DCL and InfoNCE at each B."""
    plain = {r.arm.batch: r for r in full_batch_arms(rows)}
    pairs = [(r, plain[r.arm.batch]) for r in full_batch_arms(rows, "dcl") if r.arm.batch in plain]
    if not pairs:
        return "No DCL arm can be compared: the direct effect of B on the loss is not known."
    details = ", ".join(
        f"{row.values[KEY][0] - base.values[KEY][0]:+.1f} at B={row.arm.batch} "
        f"({format_value(row)}, {compare(row, base)})"
        for row, base in pairs
    )
    return (
        "DCL, whose denominator excludes the positive, differs from InfoNCE in "
        f"{name} by {details}."
    )


def caveats(rows: Sequence[Row], study: dict, chosen: dict, unfinished: list[str]) -> list[str]:
    """Returns what the study did not vary, did not measure, or has not finished."""
    fewest, most = min(r.seeds for r in rows), max(r.seeds for r in rows)
    seeds = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    out = [
        f"The intervals are Student's 95 % intervals over {seeds} seeds; where two overlap, a "
        f"difference smaller than their width may still exist, and among {len(rows)} arms some "
        "pairs differ by chance.",
        f"All arms have the same {study['budget']}, so they differ in "
        f"{' and '.join(b for b in BUDGETS if b != study['budget'])} wherever B differs; "
        "temperature, nets, data and their number were not varied, and the same need not hold at "
        "other sizes.",
    ]
    if len(study["learning_rates"]) > 1:
        picked = ", ".join(f"{rate:g} at B={batch}" for batch, rate in sorted(chosen.items()))
        out.append(
            f"The learning rate was selected for each B by the tuning arms, on validation "
            f"records, with seed {study['tuning_seed']} ({picked}); all arms of that B use it."
        )
        ends = {min(study["learning_rates"]), max(study["learning_rates"])}
        edge = [f"B={batch}" for batch, rate in sorted(chosen.items()) if rate in ends]
        if edge:
            out.append(
                f"At {', '.join(edge)} it is at an end of the grid: a better one may lie outside."
            )
    else:
        out.append(
            "The learning rate was the same for every B: large batches may need another one."
        )
    if unfinished:
        out.append(f"{len(unfinished)} runs are missing, failed or refused, see below.")
    return out
