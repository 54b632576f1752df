"""Initialization from other runs: the parts of their checkpoints that `config.init_from` takes.

Without `paths`: the nets and the parts in the method's `inherits`.  Independent of the method.
"""

import functools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from avjax.data import fingerprint
from avjax.data.record_arrays import NumberedRecords
from avjax.data.source import Source
from avjax.runtime import checkpoint, grafting, run_config
from avjax.runtime.filenames import same_path
from avjax.types import Inherited, TrainState


class SourceRun(NamedTuple):
    """A run to start from.

    tree: {"params": ..., "state": ...}, arrays or jax.ShapeDtypeStruct.
    records: () -> [[path, start, end]] of its training data, or None if unknown.
    """

    tree: dict
    records: Callable[[], list | None]


def apply(
    ts: TrainState,
    init_from: Any,
    inherits: dict[str, Inherited] | None,
    source: Source | None,
    nets: tuple[str, ...] | None = None,
) -> tuple[TrainState, str]:
    """Replaces parts of a new state by those of other runs.

    Args:
      ts: a new state; replaced parts keep its shardings, `opt` is not changed.
      init_from: the folder of a run, for its parameters, net statistics and the parts named by
        `inherits`; or dict(folder=, paths=), with paths ("params/encoders_video", ...) or
        {path in this run: path in the other run}; or a list of these, applied in order.
      inherits: of the method, see `types.Inherited`.
      source: the training data; None only if no part of `inherits` has one row per record.
      nets: inherited_nets of the method, see `types.Method`.

    Returns:
      (the state, one line that names the parts that are taken, copied and new).

    Raises:
      ValueError: a part does not fit, or a part that the method requires is missing.
      FileNotFoundError: the run does not exist.
    """

    def read(folder):
        return SourceRun(
            checkpoint.restore_latest(folder), functools.cache(lambda: _records(folder))
        )

    return _initialize(ts, init_from, inherits or {}, source, nets, read)


def validate(
    ts: TrainState,
    init_from: Any,
    inherits: dict[str, Inherited] | None,
    source: Source | None,
    earlier: dict[str, SourceRun] | None = None,
    nets: tuple[str, ...] | None = None,
) -> str:
    """Returns the line of `apply` and raises its errors, from shapes alone.

    Args:
      ts: a state as `jax.eval_shape` returns it.
      init_from, inherits, source, nets: as for `apply`.
      earlier: {folder: shapes} of runs that need not exist yet.
    """
    earlier = earlier or {}

    def read(folder):
        if folder in earlier:
            return earlier[folder]
        shapes = checkpoint.restore_latest(folder, shapes=True)
        return SourceRun(shapes, functools.cache(lambda: _records(folder)))

    return _initialize(ts, init_from, inherits or {}, source, nets, read)[1]


def describe_missing(ts: TrainState, inherits: dict[str, Inherited] | None) -> str:
    """Returns what a run without config.init_from lacks, as text; "" if it lacks nothing.

    Args:
      ts: its state.
      inherits: of the method.
    """
    needed = {
        path: how.required
        for path, how in (inherits or {}).items()
        if how.required and _subtree(_tree(ts), path) is not None
    }
    new = f"starts with random {', '.join(needed)}. " if needed else ""
    return new + " ".join(sorted({*needed.values()}))


def records_of(source: Source) -> list:
    """Returns [[path, start, end]] of the records of a source; numbered ones are one row."""
    if isinstance(source.records, NumberedRecords):
        return [[source.records.summary(), None, None]]
    return [[r["path"], r.get("start"), r.get("end")] for r in source.records]


def _records(folder) -> list | None:
    """Returns the `records_of` the training data of the run in `folder`, or None if unknown."""
    if not (fingerprints := fingerprint.read(folder)):
        return None
    spec = run_config.read(folder)["data"]["train"]["source"]
    found = fingerprints.get(json.dumps(spec, sort_keys=True))
    return found and [record[:3] for record in found["records"]]


def _initialize(ts, init_from, inherits, source, nets, read):
    """Returns (ts, line) of `apply`; read: folder -> SourceRun."""
    inherits = {
        path: how for path, how in inherits.items() if _subtree(_tree(ts), path) is not None
    }
    taken, remaining, lines, parts = {}, {}, [], _parse(init_from)
    for folder, paths in parts:
        other = read(folder)
        if paths is None:
            paths, reasons = _default_paths(_tree(ts), inherits, other, source, nets)
            remaining |= {path: f"{folder}: {path} {reason}" for path, reason in reasons.items()}
        paths = paths if isinstance(paths, dict) else dict(zip(paths, paths))
        _check_record_counts(folder, paths, inherits, other, source)
        for here, there in paths.items():
            ts = grafting.graft(ts, other.tree, here, there, folder)
        taken |= paths
        lines.append(f"from {folder}: {_format_paths(paths)}")
    absent = [path for path in inherits if not _overlaps(path, taken)]
    _check_required(inherits, absent, remaining)
    copies = {path: inherits[path].copy for path in absent if inherits[path].copy}
    for here, there in copies.items():
        copy = {"copy": jax.tree.map(_copy, _subtree(_tree(ts), there))}
        ts = grafting.graft(ts, copy, here, "copy", there)
    lines += [f"copied: {_format_paths(copies)}"] if copies else []
    new = ", ".join(_untouched_paths(_tree(ts), {**taken, **copies}))
    lines += [f"new: {new}"] if new else []
    needed = {inherits[path].required for path in absent} - {""}
    return ts, "starts " + "; ".join([*lines, *sorted(needed)])


def _parse(init_from) -> list:
    """Returns [(folder, paths)] of config.init_from."""
    if isinstance(init_from, list | tuple):
        return [part for one in init_from for part in _parse(one)]
    if isinstance(init_from, str):
        return [(init_from, None)]
    if not isinstance(init_from, dict) or not isinstance(init_from.get("folder"), str):
        raise ValueError(f"{init_from!r}: use the folder of a run, or dict(folder=, paths=)")
    return [(init_from["folder"], init_from.get("paths"))]


def _default_paths(tree, inherits, other: SourceRun, source, nets):
    """Returns (paths taken without `paths`, {path of `inherits`: why it is not taken})."""
    paths = ["params", *(f"state/stats/{kind}" for kind in other.tree["state"]["stats"])]
    if nets is not None:  # A front end may have statistics and no parameters, or neither.
        every = [f"{path}/{name}" for path in paths for name in nets]
        paths = [path for path in every if _subtree(tree, path) is not None]
    remaining = {}
    for path, how in inherits.items():
        if (other_part := _subtree(other.tree, path)) is None:
            remaining[path] = "does not exist"
        elif _shapes(other_part) != _shapes(_subtree(tree, path)):
            remaining[path] = "has other shapes"
        elif how.records and (difference := _record_mismatch(other.records(), source)):
            remaining[path] = difference
        else:
            paths.append(path)
    return paths, remaining


def _record_mismatch(known: list | None, source) -> str:
    """Returns why rows for the records `known` do not fit `source`; "" if they do."""
    if known is None:
        return "belongs to records that the run does not name"
    own = records_of(source)
    if len(known) != len(own):
        return f"has {len(known)} records, config.data.train.source has {len(own)}"
    for there, here in zip(known, own):
        if there[1:] != here[1:] or not same_path(there[0], here[0]):
            return f"is of other records than config.data.train.source: {there[0]}, here {here[0]}"
    return ""


def _check_record_counts(folder, paths, inherits, other: SourceRun, source) -> None:
    """Raises ValueError if a part with one row per record has another number of records."""
    by_record = [path for path, how in inherits.items() if how.records]
    chosen = [there for here, there in paths.items() for p in by_record if _overlaps(p, [here])]
    known = other.records() if chosen else None
    if known is not None and len(known) != len(records_of(source)):
        difference = _record_mismatch(known, source)
        raise ValueError(
            f"{folder}: {chosen[0]} {difference}: use the same data, or leave it out of paths"
        )


def _check_required(inherits, absent, left) -> None:
    """Raises ValueError if a run without `paths` lacks a part that the method requires."""
    if found := [path for path in absent if inherits[path].required and path in left]:
        reasons = "; ".join(left[path] for path in found)
        raise ValueError(f"{reasons}. {inherits[found[0]].required}")


def _tree(ts) -> dict:
    return {"params": ts.params, "state": ts.state}


def _subtree(tree, path: str):
    """Returns the subtree at a path; None if it does not exist or has no arrays."""
    for key in path.split("/"):
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree if jax.tree.leaves(tree) else None


def _shapes(tree):
    return jax.tree.map(lambda leaf: leaf.shape, tree)


def _copy(leaf):
    # A buffer that occurs twice in the state cannot be donated.
    return leaf if isinstance(leaf, jax.ShapeDtypeStruct) else jnp.copy(leaf)


def _overlaps(path: str, taken) -> bool:
    """Whether one of the paths `taken` is equal to, a parent or a child of `path`."""
    return any(f"{path}/".startswith(f"{t}/") or t.startswith(f"{path}/") for t in taken)


def _untouched_paths(tree, taken, path=""):
    """Yields the shortest paths of the arrays that are below none of `taken`."""
    for key, part in sorted(tree.items()):
        here = f"{path}{key}"
        if not jax.tree.leaves(part) or any(f"{here}/".startswith(f"{t}/") for t in taken):
            continue
        if isinstance(part, dict) and (here == "state" or _overlaps(here, taken)):
            yield from _untouched_paths(part, taken, f"{here}/")
        else:
            yield here


def _format_paths(paths: dict) -> str:
    """Formats paths of this run, each with its path in the other run if that differs."""
    return ", ".join(h if h == t else f"{h} (from {t})" for h, t in paths.items())
