"""Converts PyTorch state dicts to trees of ours and back.

By a table {our path: (their name, layout)}.  With layout "conv" and "linear", [Cout, Cin, ...] is
[..., Cin, Cout] here; "transposed" is a "conv" of images with the two axes exchanged too; "same" is
unchanged.
"""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

NORMS = "num_batches_tracked"  # Counted by PyTorch; unused with a momentum.


def to_flax(state: dict, names: dict, shapes: dict, ignored: tuple[str, ...] = ()) -> dict:
    """Converts PyTorch arrays to a tree of ours, in float32.

    Args:
      state: {their name: array}.
      names: {our path: (their name, layout)}.
      shapes: {our path: shape} of the net.
      ignored: regular expressions of names that the net does not have, e.g. another task's
        classifier.

    Returns:
      Nested dicts of arrays.

    Raises:
      ValueError: lists unknown and missing names and wrong shapes.
    """
    if names.keys() != shapes.keys():
        odd = sorted(names.keys() ^ shapes.keys())
        raise ValueError(f"the table of names does not fit the net: {join_names(odd)}")
    known = {name for name, _ in names.values()}
    unknown = [name for name in state if name not in known and not _is_ignored(name, ignored)]
    gone = sorted(known - state.keys())
    wrong = []
    for path, (name, layout) in names.items():
        if name not in state:
            continue
        expected_shape = to_torch_layout(np.broadcast_to(0, shapes[path]), layout).shape
        if state[name].shape != expected_shape:
            wrong.append(f"{name} ({_shape(state[name].shape)}, not {_shape(expected_shape)})")
        elif state[name].dtype.name not in FLOATS:
            wrong.append(f"{name} ({state[name].dtype.name}, not a float)")
    problems = {"unknown": unknown, "missing": gone, "wrong": wrong}
    if summary := [f"{len(v)} {k}: {join_names(v)}" for k, v in problems.items() if v]:
        raise ValueError("the file does not fit the net; " + "; ".join(summary))
    return unflatten(
        {p: to_flax_layout(state[n], layout).astype(np.float32) for p, (n, layout) in names.items()}
    )


FLOATS = ("float16", "bfloat16", "float32", "float64")


def to_torch(tree: dict, names: dict) -> dict[str, np.ndarray]:
    """Converts a tree to a PyTorch state dict, with a count for each normalization.

    Args:
      tree: nested dicts of arrays.
      names: {our path: (their name, layout)}.

    Returns:
      {their name: array}.

    Raises:
      ValueError: lists arrays that are missing or have no PyTorch name.
    """
    arrays = flatten(tree)
    if missing := sorted(names.keys() - arrays.keys()):
        raise ValueError(f"the run lacks {join_names(missing)}")
    if unknown := sorted(arrays.keys() - names.keys()):
        raise ValueError(f"no PyTorch name is known for {join_names(unknown)}")
    out = {name: to_torch_layout(arrays[path], layout) for path, (name, layout) in names.items()}
    norms = [name.removesuffix("running_var") for name in out if name.endswith("running_var")]
    return out | {norm + NORMS: np.zeros((), np.int64) for norm in norms}


def to_flax_layout(a: np.ndarray, layout: str) -> np.ndarray:
    """Reorders the axes of a PyTorch array to ours.

    Args:
      a: the array.
      layout: "conv", "linear", "transposed" or "same".
    """
    if layout == "transposed":
        return a.transpose()
    return a if layout == "same" else np.moveaxis(a, (0, 1), (-1, -2))


def to_torch_layout(a: np.ndarray, layout: str) -> np.ndarray:
    """Reorders the axes of an array of ours to PyTorch's.

    Args:
      a: the array.
      layout: as in `to_flax_layout`.
    """
    if layout == "transposed":
        return a.transpose()
    return a if layout == "same" else np.moveaxis(a, (-1, -2), (0, 1))


def _shape(shape):
    return "x".join(map(str, shape)) or "a number"


def plain_state_dict(state: Any) -> dict[str, np.ndarray]:
    """Returns a state dict without the "module." of DataParallel.

    Args:
      state: contents of a file.

    Raises:
      ValueError: it is not a state dict.
    """
    if type(state) is not dict:
        raise ValueError(f"not a state dict but a {type(state).__name__}")
    if odd := [k for k, v in state.items() if type(k) is not str or not isinstance(v, np.ndarray)]:
        raise ValueError(f"not a state dict: {join_names(map(str, odd))} are not tensors")
    while state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    return state


def flatten(tree: Any, prefix: str = "") -> dict:
    """Returns {"a/b/c": leaf} of nested dicts.

    Args:
      tree: dicts and leaves.
      prefix: of the paths.
    """
    if not isinstance(tree, dict):
        return {prefix: tree}
    parts = (flatten(v, f"{prefix}/{k}" if prefix else k) for k, v in tree.items())
    return {path: leaf for part in parts for path, leaf in part.items()}


def unflatten(arrays: dict) -> dict:
    """Returns nested dicts of {"a/b/c": leaf}, the inverse of `flatten`."""
    tree = {}
    for path, value in arrays.items():
        *parts, last = path.split("/")
        node = tree
        for part in parts:
            node = node.setdefault(part, {})
        node[last] = value
    return tree


def join_names(names: Iterable, most: int = 12) -> str:
    """Returns the first names, comma-separated, and how many more there are.

    Args:
      names: shown with at most 100 characters each.
      most: number of names shown.
    """
    names = [str(name)[:100] for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _is_ignored(name, patterns):
    return name.endswith(NORMS) or any(re.fullmatch(pattern, name) for pattern in patterns)
