"""The tables of an ablation: runs.csv by run, study.csv by arm with intervals over seeds."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from avjax.ablation import study as arithmetic
from avjax.ablation.study import Arm, Run

# Name -> (title, pattern of the values of a run that are averaged).
QUANTITIES = {
    "recall@1": ("recall@1, %", "eval/.*/retrieval/.2./recall@1"),
    "recall@5": ("recall@5, %", "eval/.*/retrieval/.2./recall@5"),
    "recall@10": ("recall@10, %", "eval/.*/retrieval/.2./recall@10"),
    "probe": ("linear probe, video + audio, %", "eval/.*/linear/both/top1"),
    "peak": ("peak memory of a step, MB", "cost/peak"),
    "temporaries": ("temporaries of a step, MB", "cost/temporaries"),
    "flops": ("FLOPs of a step, 1e9", "cost/flops"),
    "seconds_per_step": ("seconds per step", "seconds_per_step"),
    "positive": ("positive score", "score/positive"),
    "negative": ("mean negative score", "score/negative"),
    "negatives_above_positive": (
        "share of negatives above the positive",
        "score/negatives_above_positive",
    ),
    "expected_false": ("expected false negatives per query", "false_negatives/expected"),
    "share_false": ("false-negative rate", "false_negatives/share"),
    "alignment": ("alignment, lower is nearer", "eval/.*/alignment"),
    "uniformity_video": ("uniformity of video, lower is more even", "eval/.*/video/uniformity"),
    "uniformity_audio": ("uniformity of audio, lower is more even", "eval/.*/audio/uniformity"),
    "final_loss": ("loss, last quarter", "loss"),
    "loss_below_uniform": ("loss less that of equal scores", "loss_below_uniform"),
}
# (minimum, maximum) of a quantity; its interval is clipped.
LIMITS: dict[str, tuple] = dict.fromkeys(("recall@1", "recall@5", "recall@10", "probe"), (0, 100))
LIMITS |= dict.fromkeys(("negatives_above_positive", "share_false"), (0, 1)) | {
    "seconds_per_step": (0,)
}
SCALE = {"peak": 1e-6, "temporaries": 1e-6, "flops": 1e-9}


class Row(NamedTuple):
    """An arm over its finished seeds.

    plan: {"steps", "budget_error", "refused"}.  seeds: their number.
    values: {quantity: (mean, low, high)}.
    """

    arm: Any
    plan: dict
    seeds: int
    learning_rate: float | None
    values: dict[str, tuple[float, float, float]]


def make_row(arm: Arm, plan: dict, runs: Sequence[Run], results: Mapping[str, dict]) -> Row:
    """Returns the Row of an arm.

    Args:
      arm: the arm.
      plan: see `Row`.
      runs: of the study, without tuning runs.
      results: {run: result}.
    """
    found = [results[r.name] for r in runs if r.arm.name == arm.name and r.name in results]
    each = [quantities(result) for result in found]
    values = {
        name: arithmetic.confidence_interval([e[name] for e in each], *LIMITS.get(name, ()))
        for name in QUANTITIES
        if each and all(name in e for e in each)
    }
    return Row(arm, plan, len(found), found[0]["learning_rate"] if found else None, values)


def quantities(result: dict) -> dict[str, float]:
    """Returns {quantity: value} of a result."""
    cost = {f"cost/{name}": value for name, value in (result["cost"] or {}).items()}
    values, out = result["values"] | cost, {}
    for name, (_, pattern) in QUANTITIES.items():
        found = [value for key, value in values.items() if re.fullmatch(pattern, key)]
        if found:
            out[name] = sum(found) / len(found) * SCALE.get(name, 1)
    return out


def arm_lines(rows: Sequence[Row]) -> list[list]:
    """Returns study.csv: one line per arm, with mean and interval of each quantity.

    Args:
      rows: as of `make_row`.
    """
    head = [
        "arm",
        "strategy",
        "loss",
        "B",
        "K",
        "learning_rate",
        "steps",
        "examples",
        "off budget",
        "seeds",
    ]
    names = [name for name in QUANTITIES if any(name in row.values for row in rows)]
    lines = [head + [f"{name}{end}" for name in names for end in ("", " low", " high")]]
    for row in rows:
        arm, steps, off = row.arm, row.plan["steps"], row.plan["budget_error"]
        cells = [arm.name, arm.strategy, arm.loss, arm.batch, arm.negatives]
        cells += [row.learning_rate, steps, steps and steps * arm.batch, off, row.seeds]
        cells += [v for name in names for v in row.values.get(name, (math.nan,) * 3)]
        lines.append([format_cell(cell) for cell in cells])
    return lines


def run_lines(runs: Sequence[Run], results: Mapping[str, dict]) -> list[list]:
    """Returns runs.csv: one line per finished run with all its values.

    Args:
      runs: of the study.
      results: {run: result}.
    """
    found = [results[run.name] for run in runs if run.name in results]
    names = sorted({name for result in found for name in result["values"]})
    fields = ["run", "arm", "seed", "learning_rate", "batch", "negatives", "steps", "diverged"]
    costs = ["flops", "temporaries", "peak"]
    lines = [[*fields, *names, *costs]]
    for result in found:
        cells = [result[f] for f in fields] + [result["values"].get(n) for n in names]
        cells += [(result["cost"] or {}).get(name) for name in costs]
        lines.append([format_cell(cell) for cell in cells])
    return lines


def format_cell(cell: object) -> str:
    """Formats a cell; numbers with six digits."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    return f"{cell:.6g}" if isinstance(cell, float) else str(cell)
