"""The folder of a run: one config, one run."""

import json
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from avjax.runtime import side_files
from avjax.runtime.atomic import write_atomic
from avjax.runtime.filenames import same_path
from avjax.runtime.regular_files import read_text

# Keys that may change when a run is resumed.
CHANGEABLE_KEYS = (
    "steps", "log_every", "save_every", "max_to_keep", "async_checkpointing", "evals", "profile",
    "watchdog",
    "max_nonfinite_steps", "fsdp", "sharding_rules",
    "data.train.workers", "data.train.timeout", "data.train.memory_limit", "study.report",
)  # fmt: skip


def open_workdir(
    workdir: str | os.PathLike,
    config: dict,
    at_steps: Callable | None = None,
    write: bool = True,
    allow_changed: Collection[str] = (),
) -> Path:
    """Creates `workdir`, writes its config.json and returns its path.

    A damaged config.json is kept under another name.

    Args:
      config, at_steps, allow_changed: see `check_config`, which is called first.
      workdir: the folder of the run.
      write: False in all processes but one.
    """
    workdir = check_config(workdir, config, at_steps, allow_changed)
    workdir.mkdir(parents=True, exist_ok=True)
    if write:
        path = workdir / "config.json"
        if reason := _read_config(path)[1]:
            side_files.keep(path, reason, "the config of this command is written")
        write_atomic(path, json.dumps(config, indent=2))
    return workdir


def check_config(
    workdir: str | os.PathLike,
    config: dict,
    at_steps: Callable | None = None,
    allow_changed: Collection[str] = (),
) -> Path:
    """Raises ValueError if `config` cannot run in `workdir`; writes nothing.

    The folder must not have a run with another config.  The number of steps may change, and with
    it everything derived from it.  Absolute and relative names of the same file are equal.

    Args:
      workdir: the folder of the run.
      config: a plain dict.
      at_steps: a function steps -> `config` with another number of steps; None if nothing in the
        config is derived from the steps.
      allow_changed: "data" accepts other paths of data sets, "config" any change.
    """
    workdir = check_writable(workdir)
    if "config" in allow_changed:
        return workdir
    changed = config_changes(workdir, config, at_steps)
    moved = {key for key, values in changed.items() if _is_path_of_data(key, *values)}
    refused = {k: v for k, v in changed.items() if "data" not in allow_changed or k not in moved}
    if refused:
        differences = "; ".join(f"{k} was {a!r}, is {b!r}" for k, (a, b) in [*refused.items()][:5])
        accept = "data" if refused.keys() <= moved else "config"
        raise ValueError(
            f"{workdir} holds a run of another config ({differences}): choose another --workdir, "
            f"or accept the change with --allow_changed_{accept}"
        )
    return workdir


def config_changes(
    workdir: str | os.PathLike, config: dict, at_steps: Callable | None = None
) -> dict[str, tuple]:
    """Returns {key: (value of the run in `workdir`, value in `config`)} of what must not change.

    Args:
      workdir, config, at_steps: as of `check_config`.
    """
    old = existing_config(workdir)
    if old is None:
        return {}
    new = json.loads(json.dumps(config))
    if at_steps and old["steps"] != new.get("steps"):
        new = json.loads(json.dumps(at_steps(old["steps"])))
    old, new = fixed_items(old), fixed_items(new)
    keys = sorted(k for k in old.keys() | new.keys() if not same_path(old.get(k), new.get(k)))
    return {k: (old.get(k), new.get(k)) for k in keys}


def _is_path_of_data(key: str, old: Any, new: Any) -> bool:
    """Whether a key of a config names a file or folder of a data set, which exists."""
    texts = isinstance(old, str) and isinstance(new, str)
    return texts and ".source." in key and os.sep in old + new and os.path.exists(new)


def check_is_run(folder: str | os.PathLike) -> Path:
    """Returns the path of the config of a run.

    Args:
      folder: of the run.

    Raises:
      FileNotFoundError: it is not the folder of a run.
    """
    path = Path(folder) / "config.json"
    if not path.exists():
        what = "no config.json" if Path(folder).is_dir() else "no such directory"
        raise FileNotFoundError(f"{folder} is not a run directory ({what})")
    return path


def check_has_checkpoints(folder: str | os.PathLike) -> None:
    """Raises FileNotFoundError if a folder is not that of a run with checkpoints."""
    if not (Path(folder) / "checkpoints").is_dir():
        raise FileNotFoundError(f"{folder} is not a run directory (no checkpoints/)")


def check_is_trained(workdir: str | os.PathLike) -> None:
    """Raises FileNotFoundError if the folder of a run holds no checkpoint to evaluate."""
    if not any(path.name.isdigit() for path in Path(workdir).glob("checkpoints/*")):
        raise FileNotFoundError(f"{workdir} holds no checkpoint to evaluate: train it first")


def profile_folder(workdir: str | os.PathLike) -> Path:
    """Returns where the traces of JAX's profiler go in the folder of a run."""
    return Path(workdir) / "profile"


def check_writable(workdir: str | os.PathLike) -> Path:
    """Checks that a folder can be written or created; writes nothing.

    Args:
      workdir: the folder of a run.

    Returns:
      its path.

    Raises:
      ValueError: it is not a folder, or cannot be written.
    """
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


def existing_config(workdir: str | os.PathLike) -> dict | None:
    """Returns the config of the run in a folder; None if there is no run, or it is damaged.

    Args:
      workdir: the folder of a run.

    Raises:
      ValueError: config.json is not a regular file.
    """
    return _read_config(Path(workdir) / "config.json")[0]


def _read_config(path: Path) -> tuple[dict | None, str]:
    """Returns (the config of a run or None, what is wrong or "")."""
    try:
        config = json.loads(read_text(path))
    except FileNotFoundError:
        return None, ""
    except UnicodeDecodeError:
        return None, "it is no text"
    except (json.JSONDecodeError, RecursionError):
        return None, "it is no JSON"
    if not isinstance(config, dict) or not isinstance(config.get("steps"), int):
        return None, "it is not the config of a run"
    return config, ""


def resume_message(workdir: str | os.PathLike, step: int | None) -> str:
    """Describes in one line what is saved of an interrupted run, and how to resume it.

    Args:
      workdir: the folder of the run.
      step: of the latest checkpoint; None if there is none.
    """
    if step is None:
        return "nothing is saved before the first step; re-run the command to start again"
    return f"step {step} is saved in {workdir}/checkpoints; re-run the command to resume"


def report_is_stale(workdir: str | os.PathLike) -> bool:
    """Whether a run was killed before it wrote its report: run.json is written before that."""
    report, session = Path(workdir) / "report.html", Path(workdir) / "run.json"
    if not session.exists():
        return False
    return not report.exists() or report.stat().st_mtime_ns < session.stat().st_mtime_ns


def steps_change_message(workdir: str | os.PathLike, config: dict) -> str:
    """Describes in one line what changes with the number of steps; "" if it did not change.

    Args:
      workdir: the folder of the run.
      config: the new config.
    """
    old = existing_config(workdir) or config
    if old["steps"] == config["steps"]:
        return ""
    before, after = dict(iter_leaves(old)), dict(iter_leaves(json.loads(json.dumps(config))))
    both = [k for k in after if k in before and _is_fixed(k)]
    follow = [k for k in both if not same_path(before[k], after[k])]
    details = ", ".join(f"{k} {before[k]} -> {after[k]}" for k in follow[:3])
    more = f" and {len(follow) - 3} more" if len(follow) > 3 else ""
    return f"steps {old['steps']} -> {config['steps']}" + (
        f": {details}{more} change with it, from here on" if follow else ""
    )


def fixed_items(config: dict) -> dict:
    """Returns {"a.b.0": leaf} of the part of a config that must not change."""
    return {k: v for k, v in iter_leaves(config) if _is_fixed(k)}


def _is_fixed(key: str) -> bool:
    return key not in CHANGEABLE_KEYS and not key.startswith(
        tuple(f + "." for f in CHANGEABLE_KEYS)
    )


def iter_leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields ("a.b.0", leaf) of nested dicts and lists.

    Args:
      tree: dicts, lists and leaves.
      prefix: of the keys.
    """
    if isinstance(tree, dict | list):
        for k, v in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from iter_leaves(v, f"{prefix}.{k}" if prefix else str(k))
    else:
        yield prefix, tree
