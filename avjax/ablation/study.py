"""The arithmetic of an ablation: arms, budgets, which runs, rates, intervals over seeds.

An arm is a way to train, a run is an arm with a seed and a learning rate.  The rate is chosen
for each size of batch by runs of their own, on records that are not those of the test.
"""

import copy
import difflib
import hashlib
import inspect
import json
import math
import pkgutil
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

BUDGETS = ("examples", "steps", "flops")
WITHIN = ("in_batch", "tiled", "ring")  # Strategies whose negatives are those of the batch.
# What a study may compare its arms by -> its name.
COMPARED = {
    "recall@1": "recall@1",
    "recall@5": "recall@5",
    "recall@10": "recall@10",
    "probe": "probe accuracy",
}


class Arm(NamedTuple):
    """One way to train.

    strategy, loss:  words for tables, e.g. "bank" and "info_nce".
    negatives:       K, the negatives of a query; None where a study is not of negatives.
    overrides:       {"method.negatives": dict(fn=...), ...}; a dict replaces the whole part.
    tune:            whether the learning rate of this batch size is chosen by this arm.
    """

    name: str
    strategy: str
    loss: str
    batch: int
    negatives: int | None
    overrides: dict[str, Any]
    tune: bool = False


class Run(NamedTuple):
    """rate: the one tried, in a tuning run; None where it is the one that tuning chose."""

    name: str
    arm: Arm
    seed: int
    rate: float | None


def runs_of(arms, study: dict) -> tuple[Run, ...]:
    """All runs, those that choose the rate first; a single rate needs no choice."""
    rates = study["rates"] if len(study["rates"]) > 1 else ()
    seed = study["tuning_seed"]
    tuning = [
        Run(f"tune-{arm.name}-rate{rate:g}", arm, seed, rate)
        for arm in arms if arm.tune for rate in rates
    ]  # fmt: skip
    # Seed by seed: a study cut short has all arms at fewer seeds, not fewer arms.
    main = [Run(f"{arm.name}-seed{s}", arm, s, None) for s in study["seeds"] for arm in arms]
    return (*tuning, *main)


def steps_of(study: dict, batch: int, flops: float | None = None) -> int:
    """The steps that come nearest to the budget."""
    amount = study["amount"][study["budget"]]
    return max(1, round(amount / _each(study["budget"], batch, flops)))


def off_budget(study: dict, steps: int, batch: int, flops: float | None = None) -> float:
    """By which share of the budget `steps` miss it, signed."""
    amount = study["amount"][study["budget"]]
    return steps * _each(study["budget"], batch, flops) / amount - 1


def _each(budget: str, batch: int, flops: float | None) -> float:
    """What a step takes of the budget."""
    if budget not in BUDGETS:
        raise ValueError(f"study.budget={budget!r}: use one of {BUDGETS}")
    return {"examples": batch, "steps": 1, "flops": flops}[budget]


def refusal(study: dict, steps: int, batch: int, flops: float | None = None) -> str:
    """Why an arm may not be compared with the others, or ""."""
    off, allowed = off_budget(study, steps, batch, flops), study["tolerance"]
    if abs(off) <= allowed:
        return ""
    return (
        f"{steps} steps are {off:+.1%} off the budget of {study['amount'][study['budget']]:g} "
        f"{study['budget']}, more than {allowed:.0%}: change study.amount or the batch"
    )


def configured(base, run: Run, steps: int, rate: float | None, study: dict) -> dict:
    """The plain config of a run; what refers to steps, rate or batch follows them.

    base: a ConfigDict.  rate: None leaves the learning rate as the config has it.
    """
    config = copy.deepcopy(base)
    for path, value in {"batch_size": run.arm.batch, **run.arm.overrides}.items():
        override(config, path, value)
    config.seed, config.steps = run.seed, steps
    if rate is not None and "learning_rate" not in run.arm.overrides:
        config.learning_rate = float(rate)
    config = config.to_dict()
    if run.rate is not None:  # Tuning never sees the test records.
        config["evals"] = study["evals"]
    config.pop("study", None)
    return config


def override(config, path: str, value) -> None:
    """Sets `path` ("method.negatives") of a ConfigDict; a dict takes the place of a whole part.

    A new key is allowed where the part it belongs to is a spec whose `fn` takes it.
    """
    *parents, last = path.split(".")
    for name in parents:
        if not isinstance(config, Mapping | ConfigDict) or name not in config:
            raise ValueError(f"sweep() overrides {path}: the config has no part {name}")
        config = config[name]
    if not isinstance(config, ConfigDict):
        raise ValueError(f"sweep() overrides {path}: its parent is not a part of the config")
    if last not in config and not takes(config, last):
        close = difflib.get_close_matches(last, list(config), 1)
        near = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(
            f"sweep() overrides {path}, which the config does not have; keys there: "
            f"{', '.join(sorted(config))}{near}"
        )
    with config.unlocked(), config.ignore_type():
        if isinstance(value, dict) and last in config:
            del config[last]
        config[last] = value


def takes(spec, name: str) -> bool:
    """Whether the `fn` of a spec has an argument of this name."""
    if "fn" not in spec:
        return False
    try:
        fn = pkgutil.resolve_name(spec["fn"])
    except (ImportError, AttributeError, ValueError):
        return True  # What is wrong with fn itself is said when it is built.
    arguments = inspect.signature(getattr(fn, "make", fn)).parameters
    return name in arguments or any(a.kind is a.VAR_KEYWORD for a in arguments.values())


def rates_of(results: dict, runs, study: dict) -> dict[int, float]:
    """{batch: rate} of each batch size whose tuning runs have all ended.

    The rate is the one with the best mean of the metrics over the arms that tune; one that
    diverged with any of them is out.
    """
    if len(study["rates"]) == 1:
        return {run.arm.batch: study["rates"][0] for run in runs}
    found = {}
    for run in runs:
        if run.rate is not None:
            score = tuning_score(results[run.name], study) if run.name in results else math.nan
            found.setdefault(run.arm.batch, {}).setdefault(run.rate, []).append(score)
    means = {batch: {r: float(np.mean(s)) for r, s in by.items()} for batch, by in found.items()}
    return {
        batch: max(by, key=by.get)
        for batch, by in means.items()
        if not any(map(math.isnan, by.values())) and max(by.values()) > -math.inf
    }


def tuning_score(result: dict, study: dict) -> float:
    """What a rate is chosen by: the mean of study.metrics; -inf for a run that diverged."""
    if result["diverged"]:
        return -math.inf
    return float(np.mean([result["values"][name] for name in study["metrics"]]))


def interval(values, least=-math.inf, most=math.inf) -> tuple[float, float, float]:
    """(mean, low, high): Student's 95 % interval; a single value has none (NaN).

    least, most: what the quantity cannot leave, e.g. 0 and 100 of percent; nor does the interval.
    """
    values = np.asarray(values, float)
    if len(values) == 0:
        return math.nan, math.nan, math.nan
    if len(values) == 1:
        return float(values[0]), math.nan, math.nan
    from scipy import stats  # Late: it takes a second.

    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    mean = float(values.mean())
    return mean, max(least, mean - float(half)), min(most, mean + float(half))


def false_negatives(label) -> float | None:
    """How likely another example is of one's own class: the sum of squared shares."""
    label = np.asarray(label)
    if len(label) == 0 or (label < 0).any():
        return None
    return float(np.sum((np.bincount(label) / len(label)) ** 2))


def uniform_loss(loss: str, negatives: int) -> float | None:
    """The loss of a net that cannot tell its scores apart: log(K + 1), or log(K) for DCL."""
    return {"info_nce": math.log(negatives + 1), "dcl": math.log(negatives)}.get(loss)


def digest(config: dict) -> str:
    """A name for what a config says."""
    text = json.dumps(config, sort_keys=True, default=str).encode()
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def summary_line(result: dict) -> str:
    """What a finished run reached, in a few words; of its evaluations, those after training."""
    rate = "" if result["rate"] is None else f"learning rate {result['rate']:g}, "
    if result["diverged"]:
        return f"{rate}diverged"
    found = [f"loss {result['values']['loss']:.3f}"]
    for name, value in result["values"].items():
        if recall := re.fullmatch(r"eval/([^/]+)/.*v2a/recall@(1|10)", name):
            found.append(f"{recall[1]} v2a recall@{recall[2]} {value:.1f} %")
    return rate + ", ".join(found)
