"""A config's study and sweep(): read, completed with defaults, and checked before anything runs.

A sweep() yields one arm at a time: a dict of overrides, {"method.temperature.temperature": 0.1}, or
the fields of `avjax.ablation.study.Arm`.  The README has a whole study in ten lines.
"""

import importlib.util
import inspect
import re
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from avjax.ablation.study import BUDGETS, COMPARED, WITHIN, Arm

DEFAULTS = dict(
    title="ablation", budget="examples", tolerance=0.02, seeds=(0, 1, 2), tuning_seed=1000,
    compare="recall@1", metrics=(), evals={},
)  # fmt: skip
KEYS = {*DEFAULTS, "amount", "rates", "report"}


def load(file: str) -> Callable:
    """The function sweep of a config file; it takes the size, if the file has several."""
    spec = importlib.util.spec_from_file_location("swept", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "sweep"):
        raise ValueError(f"{file} has no sweep(): see configs/ablate_negatives.py")
    sized = inspect.signature(module.sweep).parameters
    return module.sweep if sized else lambda *_: module.sweep()


def arms_of(sweep, batch_size: int | None = None) -> tuple[Arm, ...]:
    """The arms of a sweep, checked.

    Args:
        sweep: yields dicts, see above.
        batch_size: of an arm that does not set its own.
    """
    try:
        specs = tuple(sweep)
    except Exception as error:  # The user's own code: say where.
        line = traceback.extract_tb(error.__traceback__)[-1].lineno
        name = type(error).__name__
        raise ValueError(f"sweep() failed in line {line}: {name}: {error}") from error
    if not specs:
        raise ValueError("sweep() yields no arm: yield a dict of overrides for each")
    arms = tuple(arm_of(spec, number, batch_size) for number, spec in enumerate(specs, 1))
    names = [arm.name for arm in arms]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(
            f'sweep() has two arms {sorted(twice)}: give each a "name" of its own, as a key'
        )
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


def arm_of(spec: Any, number: int, batch_size: int | None) -> Arm:
    """The arm that a sweep yields as its `number`-th, with defaults for what it leaves out."""
    if not isinstance(spec, Mapping):
        raise ValueError(
            f"arm {number} of sweep() is {spec!r}: yield a dict of overrides, such as "
            '{"method.temperature.temperature": 0.1}'
        )
    fields = dict(spec)
    if "overrides" not in fields:
        name = {"name": fields.pop("name")} if "name" in fields else {}
        fields = {"overrides": fields, **name}
    if unknown := sorted(fields.keys() - {*Arm._fields}):
        raise ValueError(f"arm {number} of sweep() has {unknown}; known are {list(Arm._fields)}")
    changes = fields["overrides"] = dict(fields["overrides"])
    if "seed" in changes:
        raise ValueError(f"arm {number} of sweep() sets seed: seeds are those of study.seeds")
    name = str(fields.pop("name", "") or named(changes))
    if not re.fullmatch(r"[\w.+=-]+", name) or name.startswith("."):
        raise ValueError(f"arm name {name!r}: use letters, digits and . _ + = -, it names a folder")
    batch = fields.pop("batch", changes.get("batch_size", batch_size))
    if not isinstance(batch, int) or batch < 1:
        raise ValueError(f"arm {name}: batch {batch!r} is not a whole number above 0")
    defaults = dict(strategy=name, loss="", negatives=None, tune=True)
    return Arm(name=name, batch=batch, **defaults | fields)


def named(changes: dict) -> str:
    """A name for an arm, made of what it changes."""
    words = []
    for path, value in changes.items():
        if isinstance(value, Mapping):
            own = {k: v for k, v in value.items() if k != "fn"}
            words += [str(value.get("fn", path)).rsplit(".", 1)[-1], *map(_pair, own.items())]
        else:
            words.append(_pair((path.rsplit(".", 1)[-1], value)))
    return re.sub(r"[^\w.+=-]+", "_", "-".join(words)).strip("._") or "base"


def _pair(item) -> str:
    return f"{item[0]}={item[1]}"


def study_of(given: Mapping, config: Mapping, arms) -> dict:
    """The study of a config with defaults for what it leaves out, checked.

    Args:
        given: config.study, {} where the config has none.
        config: the config of a run: what a run gets by default is what it says.
    """
    if unknown := sorted(given.keys() - KEYS):
        raise ValueError(f"config.study has {unknown}; known are {sorted(KEYS)}")
    study = DEFAULTS | dict(given)
    own = (config["learning_rate"],) if "learning_rate" in config else (None,)
    study.setdefault("rates", own)
    # Arms that set their own steps are to be compared at the budget of the first.
    steps = arms[0].overrides.get("steps", config["steps"])
    batch = arms[0].batch if "steps" in arms[0].overrides else config["batch_size"]
    amount = study.get("amount", {})
    if not isinstance(amount, Mapping):
        raise ValueError(f"config.study.amount={amount!r}: give a dict, such as dict(steps=1000)")
    study["amount"] = dict(examples=batch * steps, steps=steps) | dict(amount)
    check(study, config, arms)
    return study


def check(study: dict, config: Mapping, arms) -> None:
    """Raises ValueError that names the key of a study that is wrong."""

    def need(good, key, why):
        if not good:
            raise ValueError(f"config.study.{key}={study.get(key)!r}: {why}")

    budget, seeds, rates = study["budget"], study["seeds"], study["rates"]
    need(budget in BUDGETS, "budget", f"use one of {BUDGETS}")
    amount = study["amount"].get(budget)
    need(_positive(amount), "amount", f"give a number of {budget} above 0 as {budget!r}")
    need(isinstance(study["tolerance"], int | float), "tolerance", "give a share, such as 0.02")
    whole = isinstance(seeds, list | tuple) and all(isinstance(s, int) for s in seeds)
    need(whole and seeds and len(set(seeds)) == len(seeds), "seeds", "give different whole numbers")
    need(study["compare"] in COMPARED, "compare", f"use one of {list(COMPARED)}")
    good = isinstance(rates, list | tuple) and rates and all(map(_positive, rates))
    need(good or rates == (None,), "rates", "give one learning rate or more, above 0")
    own = [arm.name for arm in arms if "learning_rate" in arm.overrides]
    if rates != (None,):
        need("learning_rate" in config, "rates", "has no effect: the config has no learning_rate")
    if len(rates) > 1:
        need(not own, "rates", f"arms {own} set learning_rate themselves: give one rate, or none")
        need(study["tuning_seed"] not in seeds, "tuning_seed", "is one of study.seeds: use another")
        need(study["evals"], "evals", "rates are chosen by these, on validation records: give them")
        need(study["metrics"], "metrics", "rates are chosen by the mean of these: give some")
        for name in study["metrics"]:
            known = [f"eval/{suite}/" for suite in study["evals"]]
            need(name.startswith(tuple(known)), "metrics", f"{name!r} begins with none of {known}")


def _positive(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
