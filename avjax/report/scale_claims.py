"""Five claims about batch size and negatives, tested on the results of a study.

A claim holds, fails, or is open where arms are missing or intervals overlap.  "Above" and "below"
are meant by Student's 95 % intervals over seeds.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from avjax.ablation import study as arithmetic
from avjax.report.scale_points import Point, interval, select

HOLDS, FAILS, OPEN = "holds", "fails", "open"


class Verdict(NamedTuple):
    """A claim, whether it holds, and the numbers."""

    claim: str
    verdict: str
    numbers: str


def evaluate_claims(found: Sequence[Point], title: str, cosines: dict[int, str]) -> list[Verdict]:
    """Returns the verdicts of all claims.

    Args:
      found: points of the study.
      title: the quantity that is compared.
      cosines: {K: title of the cosine of the gradient with K negatives}, see
        `avjax.evals.subset_gradient`.
    """
    return [
        rises_then_flattens(found, title),
        peak_moves_with_records(found, title),
        batch_not_below_bank(found, title),
        dcl_gap_shrinks(found, title),
        gradient_converges(found, cosines),
    ]


def rises_then_flattens(found: Sequence[Point], title: str) -> Verdict:
    """At fixed B, more negatives help, and from some K on less."""
    claim = f"{title} rises with K at fixed B, then flattens: its slope in log K falls by half"
    own = select(found, title, source="in_batch", budget="examples")
    numbers, verdicts = [], []
    for batch, records in sorted({(p.batch, p.records) for p in own}):
        line = sorted(
            (p for p in own if (p.batch, p.records) == (batch, records)), key=lambda p: p.negatives
        )
        if len(line) < 3:
            continue
        means = [interval(p, title)[0] for p in line]
        slopes = [
            (b - a) / math.log(q.negatives / p.negatives)
            for a, b, p, q in zip(means, means[1:], line, line[1:])
        ]
        rise = _compare(line[-1], line[0], title)
        flat = slopes[-1] <= max(slopes[:-1]) / 2
        verdicts.append({1: HOLDS if flat else FAILS, 0: OPEN, -1: FAILS}[rise])
        values = ", ".join(f"{_show(p, title)} at K={p.negatives}" for p in line)
        numbers.append(
            f"B={batch}, N={records}: {values}; slopes "
            f"{', '.join(f'{s:.1f}' for s in slopes)} per e-fold"
        )
    return _verdict(claim, verdicts, numbers)


def peak_moves_with_records(found: Sequence[Point], title: str) -> Verdict:
    """At equal epochs, the best B is inside the range, and larger for more records."""
    claim = "at equal epochs accuracy peaks and falls in B, and the peak moves right with N"
    own = [
        p
        for p in select(found, title, source="in_batch", budget="examples")
        if p.negatives == p.batch - 1
    ]
    lines, numbers, verdicts = [], [], []
    for records in sorted({p.records for p in own}):
        line = sorted((p for p in own if p.records == records), key=lambda p: p.batch)
        if len(line) < 3:
            continue
        best = _best(line, title)
        lines.append(line)
        falls = best is not line[-1]
        verdicts.append(FAILS if not falls else HOLDS if _above(best, line[-1], title) else OPEN)
        values = ", ".join(f"{_show(p, title)} at B={p.batch}" for p in line)
        numbers.append(f"N={records}: {values}; best at B={best.batch}")
    if len(lines) < 2:
        return Verdict(claim, OPEN, "; ".join(numbers) or "fewer than two N have three B")
    moves = _peak_moves(lines[0], lines[-1], title)
    numbers.append(f"it falls: {', '.join(verdicts)}; the peak moves: {moves}")
    return Verdict(claim, _worst([*verdicts, moves]), "; ".join(numbers))


def _peak_moves(few: Sequence[Point], many: Sequence[Point], title: str) -> str:
    """Whether the best B of many records is larger, and each best B is above the other one."""
    one, other = _best(few, title), _best(many, title)
    if other.batch <= one.batch:
        return FAILS
    there = [p for p in many if p.batch == one.batch and _above(other, p, title)]
    back = [p for p in few if p.batch == other.batch and _above(one, p, title)]
    return HOLDS if there and back else OPEN


def _best(line: Sequence[Point], title: str) -> Point:
    return max(line, key=lambda p: interval(p, title)[0])


def batch_not_below_bank(found: Sequence[Point], title: str) -> Verdict:
    """At equal B and K, negatives of the batch are at least as good as those of a bank."""
    claim = "at equal B and K, negatives of the batch are not below those of a bank"
    numbers, verdicts = [], []
    for bank in (p for p in select(found, title, budget="examples") if "bank" in p.source):
        same = dict(batch=bank.batch, negatives=bank.negatives, records=bank.records)
        for own in select(found, title, source="in_batch", budget="examples", **same):
            sign = _compare(own, bank, title)
            verdicts.append({1: HOLDS, 0: OPEN, -1: FAILS}[sign])
            word = {1: "above", 0: "not distinguishable from", -1: "below"}[sign]
            numbers.append(
                f"B={own.batch}, K={own.negatives}: {_show(own, title)} {word} {bank.source} "
                f"{_show(bank, title)}"
            )
    return _verdict(claim, verdicts, numbers)


def dcl_gap_shrinks(found: Sequence[Point], title: str) -> Verdict:
    """The difference that the positive in the denominator makes is one of small batches."""
    claim = "the gap between DCL and InfoNCE shrinks with B"
    gaps = {}
    for dcl in select(found, title, source="dcl", budget="examples"):
        same = dict(batch=dcl.batch, negatives=dcl.negatives, records=dcl.records)
        for own in select(found, title, source="in_batch", budget="examples", **same):
            theirs, ours = dcl.values[title], own.values[title]
            both = [theirs[s] - ours[s] for s in theirs if s in ours]  # Seed by seed.
            if both:
                gaps[dcl.batch] = arithmetic.confidence_interval(both)
    numbers = "; ".join(f"{_format(gap)} at B={batch}" for batch, gap in sorted(gaps.items()))
    if len(gaps) < 2 or any(math.isnan(gap[1]) for gap in gaps.values()):
        return Verdict(claim, OPEN, numbers or "no arm of DCL beside one of InfoNCE")
    small, large = gaps[min(gaps)], gaps[max(gaps)]
    if small[1] <= 0:  # There is no gain at the smallest batch that could shrink.
        return Verdict(claim, FAILS, f"{numbers}: no gain of DCL at the smallest B")
    shrinks = large[2] < small[1]
    return Verdict(claim, HOLDS if shrinks else FAILS if large[1] > small[2] else OPEN, numbers)


def gradient_converges(found: Sequence[Point], cosines: dict[int, str]) -> Verdict:
    """The gradient with K negatives tends to that with all."""
    claim = "the gradient with K negatives tends to the full one: its cosine tends to 1"
    means = {}
    for k, title in cosines.items():
        own = select(found, title, source="in_batch", budget="examples")
        if own:
            means[k] = sum(interval(p, title)[0] for p in own) / len(own)
    if len(means) < 3:
        return Verdict(claim, OPEN, "no cosines")
    line = [means[k] for k in sorted(means)]
    numbers = ", ".join(f"{means[k]:.3f} at K={k}" for k in sorted(means))
    rises = all(a < b for a, b in zip(line, line[1:]))
    return Verdict(claim, HOLDS if rises and line[-1] > 0.95 else FAILS, numbers)


def _compare(one: Point, other: Point, title: str) -> int:
    """1 if the interval of one is above that of the other, -1 below, 0 not decided."""
    (_, low, high), (_, low2, high2) = interval(one, title), interval(other, title)
    return int(low > high2) - int(high < low2)


def _above(one: Point, other: Point, title: str) -> bool:
    """Whether the interval of one is above that of the other."""
    return _compare(one, other, title) > 0


def _worst(verdicts: Sequence[str]) -> str:
    """Fails if one part does, holds if all do."""
    return next((v for v in (FAILS, OPEN) if v in verdicts), HOLDS)


def _verdict(claim, verdicts, numbers) -> Verdict:
    """The verdict of a claim that has parts."""
    if not verdicts:
        return Verdict(claim, OPEN, "no arms")
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in (HOLDS, OPEN, FAILS) if v in verdicts)
    return Verdict(claim, _worst(verdicts), f"{counts} of {len(verdicts)}. {'; '.join(numbers)}")


def _show(point, title):
    return _format(interval(point, title))


def _format(values):
    mean, low, high = values
    return f"{mean:.1f}" if math.isnan(low) else f"{mean:.1f} [{low:.1f}, {high:.1f}]"
