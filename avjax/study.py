"""The arithmetic of an ablation: arms, budgets, which runs, rates, intervals over seeds.

An arm is a way to train, a run is an arm with a seed and a learning rate.  The rate is chosen
for each size of batch by runs of their own, on records that are not those of the test.
"""

import copy
import hashlib
import json
import math
from typing import Any, NamedTuple

import numpy as np

BUDGETS = ("examples", "steps", "flops")
WITHIN = ("in_batch", "tiled", "ring")  # Strategies whose negatives are those of the batch.


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


def arms_of(sweep) -> tuple[Arm, ...]:
    """The arms of a config's sweep, checked."""
    arms = tuple(Arm(**arm) for arm in sweep)
    names = [arm.name for arm in arms]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"sweep() has two arms {sorted(twice)}: give each a name of its own")
    for arm in arms:
        if arm.strategy in WITHIN and arm.negatives >= arm.batch:
            raise ValueError(
                f"arm {arm.name}: {arm.negatives} negatives of a batch of {arm.batch}, which has "
                f"{arm.batch - 1} others: use fewer, or a bank or a queue"
            )
    for batch in sorted({arm.batch for arm in arms}):
        if not any(arm.tune for arm in arms if arm.batch == batch):
            raise ValueError(f"no arm of batch {batch} in sweep() has tune=True")
    return arms


def runs_of(arms, study: dict) -> tuple[Run, ...]:
    """All runs, those that choose the rate first; a single rate needs no choice."""
    rates = study["rates"] if len(study["rates"]) > 1 else ()
    seed = study["tuning_seed"]
    if rates and seed in study["seeds"]:
        raise ValueError(f"study.tuning_seed={seed} is one of study.seeds: use another")
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


def configured(base, run: Run, steps: int, rate: float, study: dict) -> dict:
    """The plain config of a run; what refers to steps, rate or batch follows them."""
    config = copy.deepcopy(base)
    for path, value in {"batch_size": run.arm.batch, **run.arm.overrides}.items():
        override(config, path, value)
    config.seed, config.steps, config.learning_rate = run.seed, steps, float(rate)
    config = config.to_dict()
    if run.rate is not None:  # Tuning never sees the test records.
        config["evals"] = study["evals"]
    del config["study"]
    return config


def override(config, path: str, value) -> None:
    """Sets `path` ("method.negatives") of a ConfigDict; a dict takes the place of a whole part."""
    *parents, last = path.split(".")
    for name in parents:
        config = config[name]
    if last not in config:
        raise ValueError(f"sweep() overrides {path}, which the config does not have")
    with config.unlocked():
        if isinstance(value, dict):
            del config[last]
        config[last] = value


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


def interval(values) -> tuple[float, float, float]:
    """(mean, low, high): Student's 95 % interval; a single value has none (NaN)."""
    values = np.asarray(values, float)
    if len(values) == 0:
        return math.nan, math.nan, math.nan
    if len(values) == 1:
        return float(values[0]), math.nan, math.nan
    from scipy import stats  # Late: it takes a second.

    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


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


def told(result: dict, study: dict) -> str:
    """A run's findings in a few words."""
    if result["diverged"]:
        return f"rate {result['rate']:g} diverged"
    short = [name for name in result["values"] if name.endswith(("v2a/r1", "v2a/r10"))]
    found = ", ".join(f"{n.split('/')[-1].upper()} {result['values'][n]:.1f}" for n in short)
    return f"rate {result['rate']:g}, loss {result['values']['loss']:.3f}, {found}"
