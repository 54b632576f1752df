"""A PyTorch state dict to a tree of ours and back, by a table {our path: their name}.

A kernel is [Cout, Cin, ...] there and [..., Cin, Cout] here, a layer [out, in] and [in, out].
"""

import re

import numpy as np

NORMS = "num_batches_tracked"  # Counted by PyTorch; of no use while momentum is given.


def take(state: dict, names: dict[str, str], shapes: dict, left: tuple[str, ...] = ()) -> dict:
    """The tree of the arrays of `state` that `names` names, in float32.

    shapes: {our path: shape} of the net.  left: regular expressions of names that the net does
    not have, such as another task's classifier.  Every other name of `state` that is not in the
    table, every one that is missing, and every wrong shape is listed in a ValueError.
    """
    if names.keys() != shapes.keys():
        odd = sorted(names.keys() ^ shapes.keys())
        raise ValueError(f"the table of names does not fit the net: {listed(odd)}")
    known = set(names.values())
    spare = [name for name in state if name not in known and not _left(name, left)]
    gone = [name for name in names.values() if name not in state]
    wrong = []
    for path, name in names.items():
        if name in state and ours(state[name]).shape != tuple(shapes[path]):
            there = "x".join(map(str, theirs(np.broadcast_to(0, shapes[path])).shape))
            wrong.append(f"{name} ({'x'.join(map(str, state[name].shape))}, not {there})")
        elif name in state and state[name].dtype.name not in FLOATS:
            wrong.append(f"{name} ({state[name].dtype.name}, not a float)")
    problems = {"unknown": spare, "missing": gone, "wrong": wrong}
    if told := [f"{len(v)} {k}: {listed(v)}" for k, v in problems.items() if v]:
        raise ValueError("the file does not fit the net; " + "; ".join(told))
    return nested({p: ours(state[n]).astype(np.float32) for p, n in names.items()})


FLOATS = ("float16", "bfloat16", "float32", "float64")


def give(tree: dict, names: dict[str, str]) -> dict[str, np.ndarray]:
    """The state dict of `tree`, the inverse of `take`; as PyTorch's, with a count for each norm."""
    arrays = flat(tree)
    if missing := sorted(names.keys() - arrays.keys()):
        raise ValueError(f"the run lacks {listed(missing)}")
    if spare := sorted(arrays.keys() - names.keys()):
        raise ValueError(f"no PyTorch name is known for {listed(spare)}")
    out = {name: theirs(arrays[path]) for path, name in names.items()}
    norms = [name.removesuffix("running_var") for name in out if name.endswith("running_var")]
    return out | {norm + NORMS: np.zeros((), np.int64) for norm in norms}


def ours(a):
    """Their array in our order of axes."""
    return np.moveaxis(a, (0, 1), (-1, -2)) if a.ndim > 1 else a


def theirs(a):
    """Our array in their order of axes."""
    return np.moveaxis(a, (-1, -2), (0, 1)) if a.ndim > 1 else a


def plain(state: dict) -> dict[str, np.ndarray]:
    """A state dict without the "module." of DataParallel; ValueError if it is none."""
    if odd := [k for k, v in state.items() if type(k) is not str or not isinstance(v, np.ndarray)]:
        raise ValueError(f"this is no state dict: {listed(map(str, odd))} hold no tensor")
    while state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return state


def flat(tree, prefix="") -> dict:
    """{"a/b/c": leaf} of nested dicts."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    parts = (flat(v, f"{prefix}/{k}" if prefix else k) for k, v in tree.items())
    return {path: leaf for part in parts for path, leaf in part.items()}


def nested(arrays: dict) -> dict:
    """The inverse of `flat`."""
    tree = {}
    for path, value in arrays.items():
        *parts, last = path.split("/")
        node = tree
        for part in parts:
            node = node.setdefault(part, {})
        node[last] = value
    return tree


def listed(names, most: int = 12) -> str:
    """Names in a row, the first of many."""
    names = [str(name)[:100] for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _left(name, patterns):
    return name.endswith(NORMS) or any(re.fullmatch(pattern, name) for pattern in patterns)
