"""A PyTorch state dict to a tree of ours and back, by a table {our path: (their name, layout)}.

Of layout "conv" and "linear", [Cout, Cin, ...] there is [..., Cin, Cout] here; "turned" is a
"conv" of pictures whose two axes are exchanged, too; "same" is as it is.
"""

import re

import numpy as np

NORMS = "num_batches_tracked"  # Counted by PyTorch; of no use while momentum is given.


def take(state: dict, names: dict, shapes: dict, left: tuple[str, ...] = ()) -> dict:
    """The tree of the arrays of `state` that `names` names, in float32.

    shapes: {our path: shape} of the net.  left: regular expressions of names that the net does
    not have, such as another task's classifier.  Every other name of `state` that is not in the
    table, every one that is missing, and every wrong shape is listed in a ValueError.
    """
    if names.keys() != shapes.keys():
        odd = sorted(names.keys() ^ shapes.keys())
        raise ValueError(f"the table of names does not fit the net: {listed(odd)}")
    known = {name for name, _ in names.values()}
    spare = [name for name in state if name not in known and not _left(name, left)]
    gone = sorted(known - state.keys())
    wrong = []
    for path, (name, layout) in names.items():
        if name not in state:
            continue
        there = theirs(np.broadcast_to(0, shapes[path]), layout).shape
        if state[name].shape != there:
            wrong.append(f"{name} ({_shape(state[name].shape)}, not {_shape(there)})")
        elif state[name].dtype.name not in FLOATS:
            wrong.append(f"{name} ({state[name].dtype.name}, not a float)")
    problems = {"unknown": spare, "missing": gone, "wrong": wrong}
    if told := [f"{len(v)} {k}: {listed(v)}" for k, v in problems.items() if v]:
        raise ValueError("the file does not fit the net; " + "; ".join(told))
    return nested(
        {p: ours(state[n], layout).astype(np.float32) for p, (n, layout) in names.items()}
    )


FLOATS = ("float16", "bfloat16", "float32", "float64")


def give(tree: dict, names: dict) -> dict[str, np.ndarray]:
    """The state dict of `tree`, the inverse of `take`; as PyTorch's, with a count for each norm."""
    arrays = flat(tree)
    if missing := sorted(names.keys() - arrays.keys()):
        raise ValueError(f"the run lacks {listed(missing)}")
    if spare := sorted(arrays.keys() - names.keys()):
        raise ValueError(f"no PyTorch name is known for {listed(spare)}")
    out = {name: theirs(arrays[path], layout) for path, (name, layout) in names.items()}
    norms = [name.removesuffix("running_var") for name in out if name.endswith("running_var")]
    return out | {norm + NORMS: np.zeros((), np.int64) for norm in norms}


def ours(a, layout):
    """Their array in our order of axes."""
    if layout == "turned":
        return a.transpose()
    return a if layout == "same" else np.moveaxis(a, (0, 1), (-1, -2))


def theirs(a, layout):
    """Our array in their order of axes."""
    if layout == "turned":
        return a.transpose()
    return a if layout == "same" else np.moveaxis(a, (-1, -2), (0, 1))


def _shape(shape):
    return "x".join(map(str, shape)) or "a number"


def plain(state: dict) -> dict[str, np.ndarray]:
    """A state dict without the "module." of DataParallel; ValueError if it is none."""
    if type(state) is not dict:
        raise ValueError(f"this is no state dict but a {type(state).__name__}")
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
