"""When, where and with what a run was made: run.json, for its report."""

import datetime
import importlib.metadata
import json
import math
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax

import avjax
from avjax.runtime.atomic import write_atomic


def record(workdir, source, params, step: int) -> Callable[[int], None]:
    """Adds a session to run.json, which has one for each start of the run.

    Args:
      source: the training data, an avjax.data.source.Source.
      params: the parameters, to be counted.
      step: the step from which this session trains.

    Returns:
      A function of the step reached, which saves that and the seconds since the start.  On all
      hosts but the first neither writes anything.
    """
    path, began = Path(workdir) / "run.json", time.monotonic()
    session = {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
        "first_step": step,
        "versions": {"avjax": avjax.__version__, "python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax")},
        "device": device(),
    }
    known = {
        "parameters": sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)),
        "data": {
            "name": source.name, "records": len(source), "listed": source.num_listed,
            "classes": len(source.classes),
        },
    }  # fmt: skip
    before = read(workdir).get("sessions", [])

    def note(step: int) -> None:
        if jax.process_index():
            return
        now = session | {"last_step": step, "seconds": round(time.monotonic() - began, 1)}
        write_atomic(path, json.dumps(known | {"sessions": [*before, now]}, indent=1))

    note(step)
    return note


def read(workdir) -> dict:
    """What run.json holds; {} where there is none, or a damaged one."""
    try:
        found = json.loads((Path(workdir) / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def device() -> str:
    """The devices of all hosts in words: "4 x NVIDIA H200 on 2 hosts"."""
    kind = jax.devices()[0].device_kind
    if kind == "cpu":
        kind = f"CPU ({os.cpu_count()} cores)"
    hosts = f" on {jax.process_count()} hosts" if jax.process_count() > 1 else ""
    return (f"{jax.device_count()} x {kind}" if jax.device_count() > 1 else kind) + hosts
