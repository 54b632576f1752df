"""A run's folder: one config, one run, on the same data."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from avjax.runtime.atomic import write_atomic

# What may differ between a run and its continuation.
FREE = (
    "steps", "log_every", "save_every", "keep", "evals",
    "data.train.workers", "data.train.timeout", "data.train.memory_limit", "study.report",
)  # fmt: skip


def claim(workdir, config: dict, at_steps: Callable | None = None, write: bool = True) -> Path:
    """Makes `workdir` and writes its config.json; returns the folder.

    Args:
      config, at_steps: see `check`, which is called first.
      write: False in all processes but one.
    """
    workdir = check(workdir, config, at_steps)
    workdir.mkdir(parents=True, exist_ok=True)
    if write:
        write_atomic(workdir / "config.json", json.dumps(config, indent=2))
    return workdir


def check(workdir, config: dict, at_steps: Callable | None = None) -> Path:
    """Raises ValueError where `config` cannot be run in `workdir`; writes nothing.

    It is refused where a run of another config has begun, and the message names what differs.
    The number of steps may change, and with it all that is derived from it.

    Args:
      at_steps: a function steps -> `config` as it is for another number of steps; None where
        nothing in it is derived from the steps.
    """
    workdir = usable(workdir)
    old = begun(workdir)
    if old is None:
        return workdir
    new = json.loads(json.dumps(config))
    if at_steps and old.get("steps") != new.get("steps"):
        new = json.loads(json.dumps(at_steps(old["steps"])))
    old, new = fixed(old), fixed(new)
    if changed := sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k)):
        differences = "; ".join(f"{k} was {old.get(k)!r}, is {new.get(k)!r}" for k in changed[:5])
        raise ValueError(
            f"{workdir} holds a run of another config ({differences}): choose another --workdir"
        )
    return workdir


def usable(workdir) -> Path:
    """`workdir` as a path; raises ValueError if it is not, and cannot become, a folder."""
    workdir = Path(workdir)
    place = workdir
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir():
        where = "is" if place == workdir else f"lies below {place}, which is"
        raise ValueError(f"--workdir {workdir} {where} not a folder: choose another --workdir")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ValueError(
            f"--workdir {workdir} cannot be written: no permission to write in {place}; "
            "choose another --workdir"
        )
    return workdir


def begun(workdir) -> dict | None:
    """The config of the run in `workdir`, or None where none has begun."""
    path = Path(workdir) / "config.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}; choose another --workdir") from error


def saved(workdir, step: int | None) -> str:
    """What is saved of an interrupted run, and how it is resumed, in a line."""
    if step is None:
        return "nothing is saved before the first step; the same command starts again"
    return f"step {step} is saved in {workdir}/checkpoints; the same command resumes from it"


def lengthened(workdir, config: dict) -> str:
    """What changes with the number of steps since the run began, in a line; "" if that did not."""
    old = begun(workdir) or config
    if old["steps"] == config["steps"]:
        return ""
    before, after = dict(leaves(old)), dict(leaves(json.loads(json.dumps(config))))
    follow = [k for k in after if k in before and before[k] != after[k] and _stays(k)]
    told = ", ".join(f"{k} {before[k]} -> {after[k]}" for k in follow[:3])
    more = f" and {len(follow) - 3} more" if len(follow) > 3 else ""
    return f"steps {old['steps']} -> {config['steps']}" + (
        f": {told}{more} change with it, from here on" if follow else ""
    )


def fixed(config: dict) -> dict:
    """{"a.b.0": leaf} of all that must stay the same while a run goes on."""
    return {k: v for k, v in leaves(config) if _stays(k)}


def _stays(key: str) -> bool:
    return key not in FREE and not key.startswith(tuple(f + "." for f in FREE))


def leaves(tree, prefix=""):
    """("a.b.0", leaf) for each leaf of nested dicts and lists."""
    if isinstance(tree, dict | list):
        for k, v in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from leaves(v, f"{prefix}.{k}" if prefix else str(k))
    else:
        yield prefix, tree
