"""The arithmetic of an ablation: arms, budgets, runs, learning rates, intervals over seeds.

An arm is one way to train; a run is an arm with a seed and a learning rate.  The learning rate of
each batch size is selected by separate runs, on records other than the test records.
"""

import copy
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from avjax.config import signatures

BUDGETS = ("examples", "steps", "flops")
BATCH_STRATEGIES = ("in_batch", "tiled", "ring")  # Their negatives are those of the batch.
# Metrics by which a study can compare its arms -> name.
REPORT_METRICS = {f"recall@{k}": f"recall@{k}" for k in (1, 5, 10)} | {"probe": "probe accuracy"}


class Arm(NamedTuple):
    """One way to train.

    strategy, loss: labels for tables, e.g. "bank" and "info_nce".
    negatives: K, the number of negatives per query; None if the study is not about negatives.
    overrides: {"method.negatives": dict(fn=...), ...}; a dict replaces a part as a whole.
    tune: whether this arm selects the learning rate of its batch size.
    """

    name: str
    strategy: str
    loss: str
    batch: int
    negatives: int | None
    overrides: dict[str, Any]
    tune: bool = False


class Run(NamedTuple):
    """One run of an arm.

    learning_rate: the candidate of a tuning run; None for the selected one.
    """

    name: str
    arm: Arm
    seed: int
    learning_rate: float | None


def expand_runs(arms: Sequence[Arm], study: dict) -> tuple[Run, ...]:
    """Returns all runs, tuning runs first; a single learning rate needs no tuning."""
    learning_rates = study["learning_rates"] if len(study["learning_rates"]) > 1 else ()
    seed = study["tuning_seed"]
    tuning = [
        Run(f"tune-{arm.name}-lr{learning_rate:g}", arm, seed, learning_rate)
        for arm in arms if arm.tune for learning_rate in learning_rates
    ]  # fmt: skip
    # Seed by seed: an interrupted study has fewer seeds, not fewer arms.
    main = [Run(f"{arm.name}-seed{s}", arm, s, None) for s in study["seeds"] for arm in arms]
    return (*tuning, *main)


def num_steps(study: dict, batch: int, flops: float | None = None) -> int:
    """Returns the number of steps closest to the budget.

    Args:
      study: the study, see docs/own-study.md.
      batch: the batch size.
      flops: of a step; required if the budget is FLOPs.
    """
    budget = study["budget_per_run"][study["budget"]]
    return max(1, round(budget / _budget_per_step(study["budget"], batch, flops)))


def budget_error(study: dict, steps: int, batch: int, flops: float | None = None) -> float:
    """Returns the relative deviation of `steps` from the budget, signed."""
    budget = study["budget_per_run"][study["budget"]]
    return steps * _budget_per_step(study["budget"], batch, flops) / budget - 1


def _budget_per_step(budget: str, batch: int, flops: float | None) -> float:
    """Returns how much of the budget one step uses."""
    if budget not in BUDGETS:
        raise ValueError(f"study.budget={budget!r}: use one of {BUDGETS}")
    return {"examples": batch, "steps": 1, "flops": flops}[budget]


def budget_violation(study: dict, steps: int, batch: int, flops: float | None = None) -> str:
    """Returns why an arm is too far from the budget to be compared, or ""."""
    error, allowed = budget_error(study, steps, batch, flops), study["tolerance"]
    if abs(error) <= allowed:
        return ""
    return (
        f"{steps} steps are {error:+.1%} off the budget of "
        f"{study['budget_per_run'][study['budget']]:g} {study['budget']}, more than {allowed:.0%}: "
        "change study.budget_per_run or the batch size"
    )


def run_config(
    base: ConfigDict, run: Run, steps: int, learning_rate: float | None, study: dict
) -> dict:
    """Returns the config of a run as a plain dict; references to the changed keys follow them.

    Args:
      base: a ConfigDict.
      run: the run.
      steps: its number of steps.
      learning_rate: None keeps that of the config.
      study: the study; its evals replace those of a tuning run.
    """
    config = copy.deepcopy(base)
    for path, value in {"batch_size": run.arm.batch, **run.arm.overrides}.items():
        override(config, path, value)
    config.seed, config.steps = run.seed, steps
    if learning_rate is not None and "learning_rate" not in run.arm.overrides:
        config.learning_rate = float(learning_rate)
    config = config.to_dict()
    if run.learning_rate is not None:  # Tuning never sees the test records.
        config["evals"] = study["evals"]
    config.pop("study", None)
    return config


def override(config: ConfigDict, path: str, value: Any) -> None:
    """Sets a dotted key ("method.negatives") of a ConfigDict; a dict replaces a part as a whole.

    Raises:
      ValueError: the key is neither in the config nor an argument of the `fn` beside it.
    """
    *parents, last = path.split(".")
    part: Any = config
    for name in parents:
        if not isinstance(part, Mapping | ConfigDict) or name not in part:
            raise ValueError(f"sweep() overrides {path}: the config has no part {name}")
        part = part[name]
    if not isinstance(part, ConfigDict):
        raise ValueError(f"sweep() overrides {path}: its parent is not a part of the config")
    if last not in part and not accepts_argument(part, last):
        near = signatures.did_you_mean(last, part)
        raise ValueError(
            f"sweep() overrides {path}, which the config does not have; keys there: "
            f"{', '.join(sorted(part))}{near}"
        )
    with part.unlocked(), part.ignore_type():
        if isinstance(value, dict) and last in part:
            del part[last]
        part[last] = value


def accepts_argument(spec: Mapping | ConfigDict, name: str) -> bool:
    """Whether the `fn` of a spec has an argument with this name."""
    if "fn" not in spec:
        return False
    try:
        arguments = signatures.arguments(str(spec["fn"]))
    except ValueError:
        return True  # Errors of fn itself are reported when it is built.
    return name in arguments or "**" in arguments


def select_learning_rates(
    results: Mapping[str, dict], runs: Sequence[Run], study: dict
) -> dict[int, float]:
    """Returns {batch size: learning rate} of the batch sizes whose tuning runs are finished.

    The selected learning rate has the best mean score over the tuning arms; one that diverged in
    any of them is excluded.

    Args:
      results: {name of a run: result}.
      runs: as `expand_runs` returns them.
      study: the study.
    """
    if len(study["learning_rates"]) == 1:
        return {run.arm.batch: study["learning_rates"][0] for run in runs}
    found = {}
    for run in runs:
        if run.learning_rate is not None:
            score = tuning_score(results[run.name], study) if run.name in results else math.nan
            found.setdefault(run.arm.batch, {}).setdefault(run.learning_rate, []).append(score)
    means = {batch: {r: float(np.mean(s)) for r, s in by.items()} for batch, by in found.items()}
    return {
        batch: max(by, key=by.__getitem__)
        for batch, by in means.items()
        if not any(map(math.isnan, by.values())) and max(by.values()) > -math.inf
    }


def tuning_score(result: dict, study: dict) -> float:
    """Returns the mean of study.tuning_metrics of a tuning run; -inf if it diverged."""
    if result["diverged"]:
        return -math.inf
    return float(np.mean([result["values"][name] for name in study["tuning_metrics"]]))


def confidence_interval(
    values: Sequence[float], minimum: float = -math.inf, maximum: float = math.inf
) -> tuple[float, float, float]:
    """Returns (mean, low, high) of Student's 95 % confidence interval; NaN for a single value.

    Args:
      values: one per seed.
      minimum, maximum: of the quantity, e.g. 0 and 100 for percent; the interval is clipped.
    """
    points = np.asarray(values, float)
    if len(points) == 0:
        return math.nan, math.nan, math.nan
    if len(points) == 1:
        return float(points[0]), math.nan, math.nan
    from scipy import stats  # Late: it takes a second.

    half = stats.t.ppf(0.975, len(points) - 1) * points.std(ddof=1) / math.sqrt(len(points))
    mean = float(points.mean())
    return mean, max(minimum, mean - float(half)), min(maximum, mean + float(half))


def false_negative_rate(label: Sequence[int] | np.ndarray) -> float | None:
    """Returns the probability that two examples have the same class; None without labels."""
    label = np.asarray(label)
    if len(label) == 0 or (label < 0).any():
        return None
    return float(np.sum((np.bincount(label) / len(label)) ** 2))


def uniform_loss(loss: str, negatives: int) -> float | None:
    """Returns the loss at equal scores: log(K + 1), or log(K) for DCL; None if unknown."""
    return {"info_nce": math.log(negatives + 1), "dcl": math.log(negatives)}.get(loss)


def config_hash(config: dict) -> str:
    """Returns a hash of a config as 16 hexadecimal digits."""
    text = json.dumps(config, sort_keys=True, default=str).encode()
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def summary_line(result: dict) -> str:
    """Returns the result of a finished run as one line."""
    learning_rate = (
        "" if result["learning_rate"] is None else f"learning rate {result['learning_rate']:g}, "
    )
    if result["diverged"]:
        return f"{learning_rate}diverged"
    found = [f"loss {result['values']['loss']:.3f}"]
    for name, value in result["values"].items():
        if recall := re.fullmatch(r"eval/([^/]+)/.*v2a/recall@(1|10)", name):
            found.append(f"{recall[1]} v2a recall@{recall[2]} {value:.1f} %")
    return learning_rate + ", ".join(found)
