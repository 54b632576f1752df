"""Reads and validates a config's study and sweep(), and fills in defaults.

A sweep() yields one arm at a time: a dict of overrides, {"method.temperature.temperature": 0.1}, or
the fields of `avjax.ablation.study.Arm`.  docs/own-study.md has a complete example.
"""

import importlib.util
import inspect
import re
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from avjax.ablation.study import BATCH_STRATEGIES, BUDGETS, REPORT_METRICS, Arm

DEFAULTS = dict(
    title="ablation", budget="examples", tolerance=0.02, seeds=(0, 1, 2), tuning_seed=1000,
    report_metric="recall@1", tuning_metrics=(), evals={},
)  # fmt: skip
STUDY_KEYS = {*DEFAULTS, "budget_per_run", "learning_rates", "report"}


def load(file: str) -> Callable:
    """Returns the function sweep of a config file.

    Args:
      file: path of the config.

    Returns:
      a function that yields arms; its optional argument is that of the config.

    Raises:
      ValueError: the file has no sweep().
    """
    spec = importlib.util.spec_from_file_location("swept", file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file} is not a Python file: give the .py file of a config")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "sweep"):
        raise ValueError(f"{file} has no sweep(): see configs/ablate_negatives.py")
    sized = inspect.signature(module.sweep).parameters
    return module.sweep if sized else lambda *_: module.sweep()


def parse_arms(sweep: Iterable[Any], batch_size: int | None = None) -> tuple[Arm, ...]:
    """Returns the validated arms of a sweep.

    Args:
      sweep: yields dicts, see above.
      batch_size: of arms that do not set it.

    Raises:
      ValueError: an arm is invalid; with its name.
    """
    try:
        specs = tuple(sweep)
    except Exception as error:  # The user's code: report the line.
        line = traceback.extract_tb(error.__traceback__)[-1].lineno
        name = type(error).__name__
        raise ValueError(f"sweep() failed in line {line}: {name}: {error}") from error
    if not specs:
        raise ValueError("sweep() yields no arm: yield one dict of overrides per arm")
    arms = tuple(parse_arm(spec, number, batch_size) for number, spec in enumerate(specs, 1))
    names = [arm.name for arm in arms]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f'sweep() has two arms {sorted(twice)}: give each a different "name" key')
    for arm in arms:
        if arm.strategy in BATCH_STRATEGIES and (arm.negatives or 0) >= arm.batch:
            raise ValueError(
                f"arm {arm.name}: {arm.negatives} negatives of a batch of {arm.batch}, which has "
                f"{arm.batch - 1} others: use fewer, or a bank or a queue"
            )
    for batch in sorted({arm.batch for arm in arms}):
        if not any(arm.tune for arm in arms if arm.batch == batch):
            raise ValueError(f"no arm of batch {batch} in sweep() has tune=True")
    return arms


def parse_arm(spec: Any, number: int, batch_size: int | None) -> Arm:
    """Returns an arm of a sweep with defaults.

    Args:
      spec: what the sweep yields.
      number: of the arm, for messages.
      batch_size: if the arm does not set it.
    """
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
    name = str(fields.pop("name", "") or default_name(changes))
    if not re.fullmatch(r"[\w.+=-]+", name) or name.startswith("."):
        raise ValueError(f"arm name {name!r}: use letters, digits and . _ + = -, it names a folder")
    batch = fields.pop("batch", changes.get("batch_size", batch_size))
    if not isinstance(batch, int) or batch < 1:
        raise ValueError(f"arm {name}: batch {batch!r} is not a whole number above 0")
    defaults: dict[str, Any] = dict(strategy=name, loss="", negatives=None, tune=True)
    return Arm(name=name, batch=batch, **defaults | fields)


def default_name(changes: dict) -> str:
    """Returns a name for an arm from its overrides, e.g. "temperature=0.1"."""
    words = []
    for path, value in changes.items():
        if isinstance(value, Mapping):
            own = {k: v for k, v in value.items() if k not in ("fn", "ref")}
            words += [
                str(value.get("fn", value.get("ref", path))).rsplit(".", 1)[-1],
                *map(_format_item, own.items()),
            ]
        else:
            words.append(_format_item((path.rsplit(".", 1)[-1], value)))
    return re.sub(r"[^\w.+=-]+", "_", "-".join(words)).strip("._") or "base"


def _format_item(item) -> str:
    return f"{item[0]}={item[1]}"


def complete_study(given: Mapping, config: Mapping, arms: Sequence[Arm]) -> dict:
    """Returns the validated study of a config with defaults.

    Args:
      given: config.study, or {}.
      config: of a run; it determines the default budget and learning rate.
      arms: as `parse_arms` returns them.

    Raises:
      ValueError: a key is wrong; with its name.
    """
    if unknown := sorted(given.keys() - STUDY_KEYS):
        raise ValueError(f"config.study has {unknown}; known are {sorted(STUDY_KEYS)}")
    study = DEFAULTS | dict(given)
    own = (config["learning_rate"],) if "learning_rate" in config else (None,)
    study.setdefault("learning_rates", own)
    # Arms that set steps are compared at the budget of the first one.
    steps = arms[0].overrides.get("steps", config["steps"])
    batch = arms[0].batch if "steps" in arms[0].overrides else config["batch_size"]
    budget = study.get("budget_per_run", {})
    if not isinstance(budget, Mapping):
        raise ValueError(
            f"config.study.budget_per_run={budget!r}: give a dict, such as dict(steps=1000)"
        )
    study["budget_per_run"] = dict(examples=batch * steps, steps=steps) | dict(budget)
    validate(study, config, arms)
    return study


def validate(study: dict, config: Mapping, arms: Sequence[Arm]) -> None:
    """Raises ValueError with the name of the first wrong key of a study.

    Args:
      study: with defaults.
      config: of a run.
      arms: of the study.
    """

    def need(good, key, why):
        if not good:
            raise ValueError(f"config.study.{key}={study.get(key)!r}: {why}")

    budget, seeds, learning_rates = study["budget"], study["seeds"], study["learning_rates"]
    need(budget in BUDGETS, "budget", f"use one of {BUDGETS}")
    size = study["budget_per_run"].get(budget)
    need(_positive(size), "budget_per_run", f"give a number of {budget} above 0 as {budget!r}")
    need(isinstance(study["tolerance"], int | float), "tolerance", "give a share, such as 0.02")
    whole = isinstance(seeds, list | tuple) and all(isinstance(s, int) for s in seeds)
    need(whole and seeds and len(set(seeds)) == len(seeds), "seeds", "give different whole numbers")
    need(
        study["report_metric"] in REPORT_METRICS,
        "report_metric",
        f"use one of {list(REPORT_METRICS)}",
    )
    good = (
        isinstance(learning_rates, list | tuple)
        and learning_rates
        and all(map(_positive, learning_rates))
    )
    need(
        good or learning_rates == (None,),
        "learning_rates",
        "give one learning rate or more, above 0",
    )
    own = [arm.name for arm in arms if arm.tune and "learning_rate" in arm.overrides]
    if learning_rates != (None,):
        need(
            "learning_rate" in config,
            "learning_rates",
            "has no effect: the config has no learning_rate",
        )
    if len(learning_rates) > 1:
        need(
            not own,
            "learning_rates",
            f"arms {own} set learning_rate themselves: give one rate, or none, or no tune=True",
        )
        need(study["tuning_seed"] not in seeds, "tuning_seed", "is one of study.seeds: use another")
        need(
            study["evals"],
            "evals",
            "learning rates are selected by these, on validation records: give some",
        )
        need(
            study["tuning_metrics"],
            "tuning_metrics",
            "learning rates are selected by the mean of these: give some",
        )
        for name in study["tuning_metrics"]:
            known = [f"eval/{suite}/" for suite in study["evals"]]
            need(
                name.startswith(tuple(known)),
                "tuning_metrics",
                f"{name!r} begins with none of {known}",
            )


def _positive(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
