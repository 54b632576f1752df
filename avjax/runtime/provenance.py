"""Provenance of a run for its report: run.json with date, command, versions and devices."""

import datetime
import importlib.metadata
import json
import math
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

import avjax
from avjax.runtime import side_files, xla_flags
from avjax.runtime.atomic import write_atomic
from avjax.runtime.regular_files import read_text, special_kind
from avjax.types import Tree


def record(
    workdir: str | os.PathLike,
    source: Any,
    params: Tree,
    step: int,
    code: Mapping[str, str],
    accepted: Sequence[str] = (),
) -> Callable[[int], None]:
    """Adds a session to run.json, which has one per start of the run.

    Args:
      workdir: the folder of the run.
      source: the training data, an avjax.data.source.Source.
      params: the parameters, which are counted.
      step: the step at which this session starts.
      code: as `code_version.current` returns it.
      accepted: changes of code and config that the user accepted.

    Returns:
      A function (step) that saves the step reached and the seconds since the start.  Only process
      0 writes.
    """
    path, start_time = Path(workdir) / "run.json", time.monotonic()
    session = {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
        "first_step": step,
        "versions": {"avjax": avjax.__version__, "python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax")},
        "code": dict(code),
        "device": device(),
        "xla": dict(xla_flags.used()),
    } | ({"accepted": list(accepted)} if accepted else {})
    known = {
        "parameters": sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)),
        "data": {
            "name": source.name, "records": len(source), "listed": source.num_listed,
            "classes": len(source.classes),
        },
    }  # fmt: skip
    before, reason = read(workdir).get("sessions", []), _read(path)[1]
    if reason and not jax.process_index():
        side_files.keep(path, reason, "earlier sessions are not listed")

    def note(step: int) -> None:
        if jax.process_index():
            return
        now = session | {"last_step": step, "seconds": round(time.monotonic() - start_time, 1)}
        write_atomic(path, json.dumps(known | {"sessions": [*before, now]}, indent=1))

    note(step)
    return note


def read(workdir: str | os.PathLike) -> dict:
    """Returns the content of run.json; {} if it is missing or damaged."""
    return _read(Path(workdir) / "run.json")[0]


def _read(path: Path) -> tuple[dict, str]:
    """Returns (content of run.json or {}, what is wrong or "")."""
    try:
        found = json.loads(read_text(path))
    except OSError:
        return {}, ""
    except (ValueError, RecursionError):
        return {}, "" if special_kind(path) else "it is no JSON"
    sessions = found.get("sessions", []) if isinstance(found, dict) else None
    if isinstance(sessions, list) and all(map(_is_session, sessions)):
        return found, ""
    return {}, "it is not about a run"


def _is_session(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(key, {}), dict) for key in ("code", "versions")
    )


def device() -> str:
    """Describes the devices of all hosts: "4 x NVIDIA H200 on 2 hosts"."""
    kind = jax.devices()[0].device_kind
    if kind == "cpu":
        kind = f"CPU ({os.cpu_count()} cores)"
    hosts = f" on {jax.process_count()} hosts" if jax.process_count() > 1 else ""
    return (f"{jax.device_count()} x {kind}" if jax.device_count() > 1 else kind) + hosts
