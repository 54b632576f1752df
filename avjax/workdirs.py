"""A run's folder: one config, one run."""

import json
from pathlib import Path

# What may differ between a run and its continuation.
FREE = (
    "steps", "log_every", "save_every", "keep", "evals",
    "data.train.workers", "data.train.deadline", "data.train.memory", "study.report",
)  # fmt: skip


def claim(workdir, config: dict) -> Path:
    """Makes `workdir` and writes its config.json.

    Raises ValueError, naming what differs, where a run of another config has begun.
    """
    workdir = Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / "config.json"
    new = json.loads(json.dumps(config))
    if path.exists():
        old, mine = (fixed(c) for c in (json.loads(path.read_text()), new))
        if changed := sorted(k for k in old.keys() | mine.keys() if old.get(k) != mine.get(k)):
            told = "; ".join(f"{k} was {old.get(k)!r}, is {mine.get(k)!r}" for k in changed[:5])
            raise ValueError(
                f"{workdir} holds a run of another config ({told}): choose another --workdir"
            )
    path.with_suffix(".new").write_text(json.dumps(new, indent=2))
    path.with_suffix(".new").replace(path)
    return workdir


def fixed(config: dict) -> dict:
    """{"a.b.0": leaf} of all that must stay the same while a run goes on."""
    free = tuple(f + "." for f in FREE)
    return {k: v for k, v in leaves(config) if k not in FREE and not k.startswith(free)}


def leaves(tree, prefix=""):
    """("a.b.0", leaf) for each leaf of nested dicts and lists."""
    if isinstance(tree, dict | list):
        for k, v in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from leaves(v, f"{prefix}.{k}" if prefix else str(k))
    else:
        yield prefix, tree
