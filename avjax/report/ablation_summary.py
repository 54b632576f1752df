"""What the numbers of an ablation say and what they do not, in sentences made from them."""

from avjax.ablation.study import BUDGETS, COMPARED, WITHIN

KEY = "key"  # Among the values of a row: that by which the arms are compared.


def sentences(rows, study: dict, chosen: dict, unfinished: list[str]) -> list[str]:
    """Findings on `rows` (see avjax.report.ablation_page), of the arms that have numbers.

    chosen: {batch: rate}.  unfinished: names of runs that are missing, failed or refused.
    """
    key = study["compare"]
    name = COMPARED[key]
    rows = [
        row._replace(values=row.values | {KEY: row.values[key]})
        for row in rows
        if key in row.values
    ]
    if not rows:
        return [f"Nothing can be said yet: no finished run has {name} (study.compare)."]
    found = [
        *sources(rows, name), from_which_batch(rows, name), *against_k(rows, name),
        against_b(rows, name), coupling(rows, name),
        *limits(rows, study, chosen, unfinished),
    ]  # fmt: skip
    return [sentence for sentence in found if sentence]


def verdict(one, other) -> str:
    """How `one` stands to `other` by their intervals; a lone seed has none and decides nothing."""
    (_, low, high), (_, low2, high2) = one.values[KEY], other.values[KEY]
    if low > high2:
        return "beats"
    if high < low2:
        return "trails"
    return "cannot be told from"  # Not "equals": the intervals may be wide.


def said(row) -> str:
    mean, low, high = row.values[KEY]
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]" if row.seeds > 1 else f"{mean:.1f} [one seed]"


def where(row) -> str:
    return f"B={row.arm.batch}, K={row.arm.negatives}"


def sources(rows, name) -> list[str]:
    """The batch against each store of negatives, at equal B, K and loss, and what each costs."""
    out = []
    stores = dict.fromkeys(r.arm.strategy for r in rows if r.arm.strategy not in WITHIN)
    for within in dict.fromkeys(r.arm.strategy for r in rows if r.arm.strategy in WITHIN):
        for store in stores:
            pairs = matched(rows, within, store)
            if not pairs:
                out.append(f"No arm of {within} has the B, K and loss of one of {store}.")
                continue
            found = {}
            for one, other in pairs:
                text = f"{where(one)} ({name} {said(one)} against {said(other)})"
                found.setdefault(verdict(one, other), []).append(text)
            told = "; ".join(f"{how} {store} at {', '.join(at)}" for how, at in found.items())
            costs = [ratio(pairs, "seconds_per_step", "step time"), ratio(pairs, "peak", "memory")]
            costs = " and ".join(cost for cost in costs if cost)
            out.append(f"At equal B and K, {within} {told}{f', at {costs}' if costs else ''}.")
    return out


def matched(rows, within, store):
    """Pairs of arms that differ in the source of negatives only."""
    other = {(r.arm.batch, r.arm.negatives, r.arm.loss): r for r in rows if r.arm.strategy == store}
    keys = [(r, (r.arm.batch, r.arm.negatives, r.arm.loss)) for r in rows]
    return [(r, other[k]) for r, k in keys if r.arm.strategy == within and k in other]


def ratio(pairs, name, words) -> str:
    """By which factor a cost of the first of each pair differs."""
    both = [p for p in pairs if all(name in row.values for row in p)]
    found = sorted(one.values[name][0] / other.values[name][0] for one, other in both)
    if not found:
        return ""
    span = f"{found[0]:.2f}" if f"{found[0]:.2f}" == f"{found[-1]:.2f}" else None
    return f"{span or f'{found[0]:.2f} to {found[-1]:.2f}'} times the {words}"


def whole(rows, loss="info_nce"):
    """The arms whose negatives are all others of the batch, by B."""
    found = [
        r for r in rows
        if r.arm.strategy in WITHIN and r.arm.loss == loss and r.arm.negatives == r.arm.batch - 1
    ]  # fmt: skip
    return sorted(found, key=lambda r: r.arm.batch)


def from_which_batch(rows, name) -> str:
    """The smallest B from which on the batch alone does as well as the best bank of any size."""
    banks = [r for r in rows if r.arm.strategy.startswith("bank") and r.arm.loss == "info_nce"]
    arms = whole(rows)
    if not banks or not arms:
        return ""
    best = max(banks, key=lambda r: r.values[KEY][0])
    told = f"the best bank ({where(best)}, {name} {said(best)})"
    good = []
    for row in reversed(arms):
        if verdict(row, best) == "trails":
            break
        good.append(row)
    if not good:
        return f"At no B tried does the whole batch reach {told}."
    least = good[-1]
    start = "At every B tried" if len(good) == len(arms) else f"From B={least.arm.batch} on"
    return f"{start} the whole batch is not below {told}: {said(least)} at {where(least)}."


def trend(rows) -> str:
    """first [interval] to last [interval], and whether that is a change."""
    first, last = rows[0], rows[-1]
    words = {"beats": "rises", "trails": "falls"}.get(verdict(last, first), "shows no clear change")
    return f"{words} ({said(first)} to {said(last)})"


def against_k(rows, name) -> list[str]:
    """From the smallest to the largest K, at each B of each source."""
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


def against_b(rows, name) -> str:
    arms = whole(rows)
    if len(arms) < 2:
        return ""
    span = f"B={arms[0].arm.batch} to {arms[-1].arm.batch}"
    return f"With all of the batch as negatives, {span}, {name} {trend(arms)}."


def coupling(rows, name) -> str:
    """InfoNCE less DCL, against B."""
    plain = {r.arm.batch: r for r in whole(rows)}
    pairs = [(r, plain[r.arm.batch]) for r in whole(rows, "dcl") if r.arm.batch in plain]
    if not pairs:
        return "No arm of DCL can be compared: what the loss itself owes to B is not known."
    told = ", ".join(
        f"{row.values[KEY][0] - base.values[KEY][0]:+.1f} at B={row.arm.batch} "
        f"({said(row)}, {verdict(row, base)})"
        for row, base in pairs
    )
    return (
        "DCL, which takes the positive out of the denominator, differs from InfoNCE in "
        f"{name} by {told}."
    )


def limits(rows, study, chosen, unfinished) -> list[str]:
    """What the study did not move, did not measure, or has not finished."""
    fewest, most = min(r.seeds for r in rows), max(r.seeds for r in rows)
    seeds = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    out = [
        f"The intervals are Student's 95 % over {seeds} seeds; where two overlap a difference "
        f"smaller than they are wide may still exist, and among {len(rows)} arms some pairs differ "
        "by chance.",
        f"All arms have the same {study['budget']}, so they differ in "
        f"{' and '.join(b for b in BUDGETS if b != study['budget'])} wherever B does; "
        "temperature, nets, data and their number were not moved, and nothing here says that the "
        "same holds at other sizes.",
    ]
    if len(study["rates"]) > 1:
        picked = ", ".join(f"{rate:g} at B={batch}" for batch, rate in sorted(chosen.items()))
        out.append(
            f"The learning rate was chosen for each B by the arms that tune it, on validation "
            f"records, with seed {study['tuning_seed']} ({picked}); all arms of that B use it."
        )
        ends = {min(study["rates"]), max(study["rates"])}
        edge = [f"B={batch}" for batch, rate in sorted(chosen.items()) if rate in ends]
        if edge:
            out.append(
                f"At {', '.join(edge)} it is at an end of the grid: a better may lie beyond."
            )
    else:
        out.append("The learning rate was the same for every B: large batches may want another.")
    if unfinished:
        out.append(f"{len(unfinished)} runs are missing, failed or refused, see below.")
    return out
