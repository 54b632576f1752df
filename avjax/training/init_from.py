"""How a run begins that starts from others: what `config.init_from` takes of their checkpoints.

Without `paths`: their nets, and what the method's `inherits` says.  Nothing here knows a method.
"""

import functools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from avjax.data import fingerprint
from avjax.data.source import Source
from avjax.runtime import checkpoint
from avjax.types import Inherited, TrainState


class Other(NamedTuple):
    """A run to start from.

    tree: {"params": ..., "state": ...}, arrays or jax.ShapeDtypeStruct.
    records: () -> [[path, start, end]] of its training data, None where they are not known.
    """

    tree: dict
    records: Callable[[], list | None]


def apply(
    ts: TrainState, init_from: Any, inherits: dict[str, Inherited] | None, source: Source | None
) -> tuple[TrainState, str]:
    """(`ts` with what `config.init_from` takes of other runs, a line: what is taken, what new).

    Args:
      ts: a new state; the parts that are taken keep its shardings, `opt` stays as it is.
      init_from: a run's folder, for its parameters, all that its nets keep beside and what
        `inherits` names; or dict(folder=, paths=), paths as ("params/encoders_video", ...) or
        {path here: path there}; or a list of these, taken in order.
      inherits: that of the method.
      source: the training data; None only if no part of `inherits` has a row for each record.

    Raises:
      ValueError: what does not fit, or which part is missing that the method requires.
      FileNotFoundError: there is no such run.
    """

    def read(folder):
        return Other(checkpoint.newest(folder), functools.cache(lambda: _records(folder)))

    return _started(ts, init_from, inherits or {}, source, read)


def check(
    ts: TrainState,
    init_from: Any,
    inherits: dict[str, Inherited] | None,
    source: Source | None,
    earlier: dict[str, Other] | None = None,
) -> str:
    """The line of `apply`, and its errors, from shapes alone.

    Args:
      ts: as `jax.eval_shape` gives it.
      earlier: {folder: the shapes of a run that need not be there yet}.
    """
    earlier = earlier or {}

    def read(folder):
        if folder in earlier:
            return earlier[folder]
        shapes = checkpoint.newest(folder, shapes=True)
        return Other(shapes, functools.cache(lambda: _records(folder)))

    return _started(ts, init_from, inherits or {}, source, read)[1]


def records_of(source: Source) -> list:
    """[[path, start, end]] of a source."""
    return [[r["path"], r.get("start"), r.get("end")] for r in source.records]


def _records(folder) -> list | None:
    """`records_of` what the run in `folder` was trained on; None where the run does not say."""
    if not (prints := fingerprint.read(folder)):
        return None
    spec = checkpoint.config_of(folder)["data"]["train"]["source"]
    found = prints.get(json.dumps(spec, sort_keys=True))
    return found and [record[:3] for record in found["records"]]


def _started(ts, init_from, inherits, source, read):
    """(ts, line) of `apply`; read: folder -> Other."""
    inherits = {path: how for path, how in inherits.items() if _at(_tree(ts), path) is not None}
    taken, left, lines, parts = {}, {}, [], _parts(init_from)
    for folder, paths in parts:
        other = read(folder)
        if paths is None:
            paths, reasons = _by_default(_tree(ts), inherits, other, source)
            left |= {path: f"{folder}: {path} {reason}" for path, reason in reasons.items()}
        paths = paths if isinstance(paths, dict) else dict(zip(paths, paths))
        _check_numbers(folder, paths, inherits, other, source)
        for here, there in paths.items():
            ts = checkpoint.grafted(ts, other.tree, here, there, folder)
        taken |= paths
        lines.append(f"from {folder}: {_listed(paths)}")
    absent = [path for path in inherits if not _touched(path, taken)]
    _check_required(inherits, absent, left)
    copies = {path: inherits[path].copy for path in absent if inherits[path].copy}
    for here, there in copies.items():
        copy = {"copy": jax.tree.map(_copied, _at(_tree(ts), there))}
        ts = checkpoint.grafted(ts, copy, here, "copy", there)
    lines += [f"copied: {_listed(copies)}"] if copies else []
    new = ", ".join(_new(_tree(ts), {**taken, **copies}))
    lines += [f"new: {new}"] if new else []
    needed = {inherits[path].required for path in absent} - {""}
    return ts, "starts " + "; ".join([*lines, *sorted(needed)])


def _parts(init_from) -> list:
    """[(folder, paths)] of config.init_from."""
    if isinstance(init_from, list | tuple):
        return [part for one in init_from for part in _parts(one)]
    if isinstance(init_from, str):
        return [(init_from, None)]
    if not isinstance(init_from, dict) or not isinstance(init_from.get("folder"), str):
        raise ValueError(f"{init_from!r}: use the folder of a run, or dict(folder=, paths=)")
    return [(init_from["folder"], init_from.get("paths"))]


def _by_default(tree, inherits, other: Other, source):
    """(paths that are taken of a run without `paths`, {path of `inherits`: why it is not})."""
    paths = ["params", *(f"state/stats/{kind}" for kind in other.tree["state"]["stats"])]
    left = {}
    for path, how in inherits.items():
        if (theirs := _at(other.tree, path)) is None:
            left[path] = "does not exist"
        elif _shapes(theirs) != _shapes(_at(tree, path)):
            left[path] = "has other shapes"
        elif how.records and (difference := _difference(other.records(), source)):
            left[path] = difference
        else:
            paths.append(path)
    return paths, left


def _difference(known: list | None, source) -> str:
    """Why rows of the records `known` are none of those of `source`; "" if they are."""
    if known is None:
        return "is of records that the run does not name"
    if len(known) != len(source):
        return f"is of {len(known)} records, config.data.train.source has {len(source)}"
    for there, here in zip(known, records_of(source)):
        if there != here:
            return f"is of other records than config.data.train.source: {there[0]}, here {here[0]}"
    return ""


def _check_numbers(folder, paths, inherits, other: Other, source) -> None:
    """Raises where a part that has a row for each record is of another number of records."""
    by_record = [path for path, how in inherits.items() if how.records]
    chosen = [there for here, there in paths.items() for p in by_record if _touched(p, [here])]
    if chosen and (known := other.records()) is not None and len(known) != len(source):
        difference = _difference(known, source)
        raise ValueError(
            f"{folder}: {chosen[0]} {difference}: use the same data, or leave it out of paths"
        )


def _check_required(inherits, absent, left) -> None:
    """Raises where a run without `paths` lacks what the method requires."""
    if found := [path for path in absent if inherits[path].required and path in left]:
        reasons = "; ".join(left[path] for path in found)
        raise ValueError(f"{reasons}. {inherits[found[0]].required}")


def _tree(ts) -> dict:
    return {"params": ts.params, "state": ts.state}


def _at(tree, path: str):
    """The subtree at a path; None where there is none, or one without arrays."""
    for key in path.split("/"):
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree if jax.tree.leaves(tree) else None


def _shapes(tree):
    return jax.tree.map(lambda leaf: leaf.shape, tree)


def _copied(leaf):
    # A buffer that occurs twice in the state could not be donated.
    return leaf if isinstance(leaf, jax.ShapeDtypeStruct) else jnp.copy(leaf)


def _touched(path: str, taken) -> bool:
    """Whether one of the paths `taken` lies at, above or below `path`."""
    return any(f"{path}/".startswith(f"{t}/") or t.startswith(f"{path}/") for t in taken)


def _new(tree, taken, path=""):
    """The paths, as short as can be, of the arrays that lie below none of `taken`."""
    for key, part in sorted(tree.items()):
        here = f"{path}{key}"
        if not jax.tree.leaves(part) or any(f"{here}/".startswith(f"{t}/") for t in taken):
            continue
        if isinstance(part, dict) and (here == "state" or _touched(here, taken)):
            yield from _new(part, taken, f"{here}/")
        else:
            yield here


def _listed(paths: dict) -> str:
    """Paths here, each with its path there if that is another."""
    return ", ".join(h if h == t else f"{h} (from {t})" for h, t in paths.items())
