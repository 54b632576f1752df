"""Predictions of a classifier, pooled over splits: accuracy per class and confusions."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avjax.runtime.regular_files import check_regular
from avjax.runtime.side_files import NPZ_ERRORS


class Predictions(NamedTuple):
    """Test records of all splits; every array but `confusion` is empty if they were not kept.

    Attributes:
      classes: names, C.
      confusion: int [C, C], row: true class, column: predicted class.
      label, predicted: int [N].
      score: float [N], of the predicted class; NaN if unknown.
      path: N names of files; "" if unknown.
    """

    classes: tuple[str, ...]
    confusion: np.ndarray
    label: np.ndarray
    predicted: np.ndarray
    score: np.ndarray
    path: tuple[str, ...]


class Confusion(NamedTuple):
    """Records of class `true` taken for class `predicted`; `share` of all of the true class."""

    true: int
    predicted: int
    count: int
    share: float


def read(paths: Sequence[Path]) -> tuple[Predictions | None, list[str]]:
    """Reads and pools the predictions of several splits.

    Args:
      paths: npz files.

    Returns:
      (the pooled predictions, None if there are none; files that cannot be read, as sentences).
    """
    parts, problems = [], []
    for path in paths:
        try:
            check_regular(path)
            with np.load(path, allow_pickle=False) as file:
                parts.append(from_arrays(dict(file)))
        except (IndexError, *NPZ_ERRORS) as error:
            name = "/".join(path.parts[-3:])
            problems.append(f"{name} cannot be read ({type(error).__name__}: {error})")
    return (pool(parts) if parts else None), problems


def from_arrays(arrays: Mapping[str, np.ndarray]) -> Predictions:
    """Returns the predictions of a split; records without a label or prediction (-1) are left out.

    Args:
      arrays: "label", "predicted" [N], "score" [N], "path" bytes [N], "classes" [C], "confusion"
        [C, C]; one of "confusion" and the first two must be there.

    Raises:
      KeyError: neither is.
      ValueError: their shapes do not fit.
    """
    given = "label" in arrays and "predicted" in arrays
    label, predicted = (np.asarray(arrays[k] if given else [], int) for k in ("label", "predicted"))
    table = np.asarray(arrays["confusion"], int) if "confusion" in arrays or not given else None
    highest = 1 + max([*label, *predicted], default=-1) if table is None else len(table)
    names = tuple(map(str, arrays.get("classes", ())))
    count = max(int(highest), len(names))
    names += tuple(f"class {i}" for i in range(len(names), count))
    score = np.asarray(arrays.get("score", np.full(len(label), np.nan)), float)
    path = tuple(os.fsdecode(p) for p in arrays.get("path", [b""] * len(label)))
    if not len(label) == len(predicted) == len(score) == len(path):
        raise ValueError(f"{len(label)} labels, {len(predicted)} predictions, {len(path)} paths")
    if max([*label, *predicted], default=-1) >= count:
        raise ValueError(f"a label or prediction of {count} classes is {count} or higher")
    confusion = np.zeros((count, count), int)
    good = (label >= 0) & (predicted >= 0)
    if table is None:
        np.add.at(confusion, (label[good], predicted[good]), 1)
    else:
        confusion[: len(table), : len(table)] = table
    kept = tuple(p for p, is_good in zip(path, good) if is_good)
    return Predictions(names, confusion, label[good], predicted[good], score[good], kept)


def pool(parts: Sequence[Predictions]) -> Predictions:
    """Returns the predictions of several splits as one; classes are matched by their names.

    Args:
      parts: at least one.
    """
    names = tuple(dict.fromkeys(name for part in parts for name in part.classes))
    rows = [np.array([names.index(name) for name in part.classes], int) for part in parts]
    confusion = np.zeros((len(names), len(names)), int)
    for part, row in zip(parts, rows):
        np.add.at(confusion, np.ix_(row, row), part.confusion)  # Names may be equal.
    label, predicted = (
        np.concatenate([row[getattr(part, field)] for part, row in zip(parts, rows)])
        for field in ("label", "predicted")
    )
    score = np.concatenate([part.score for part in parts])
    path = tuple(name for part in parts for name in part.path)
    return Predictions(names, confusion, label, predicted, score, path)


def class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Returns the share of each class that is predicted correctly, in percent.

    Args:
      confusion: int [C, C].

    Returns:
      float [C]; NaN for a class without test records.
    """
    total = confusion.sum(1)
    return np.where(total, 100 * np.diag(confusion) / np.maximum(total, 1), np.nan)


def hardest_confusions(confusion: np.ndarray, most: int) -> list[Confusion]:
    """Returns the most frequent confusions, those with the larger share first among equal ones.

    Args:
      confusion: int [C, C].
      most: maximum number.
    """
    total = confusion.sum(1)
    pairs = [
        Confusion(int(i), int(j), int(confusion[i, j]), float(confusion[i, j] / total[i]))
        for i, j in np.argwhere(confusion)
        if i != j
    ]
    return sorted(pairs, key=lambda p: (-p.count, -p.share, p.true, p.predicted))[:most]


def example(found: Predictions, true: int, predicted: int, skip: Sequence[str] = ()) -> str:
    """Returns the file of the most confident record of a cell; "" if no name was kept.

    Args:
      found: the predictions.
      true, predicted: the cell.
      skip: names that are taken only if there is no other.
    """
    at = np.flatnonzero((found.label == true) & (found.predicted == predicted))
    at = [i for i in at if found.path[i]]
    if not at:
        return ""
    score = np.nan_to_num(found.score, nan=0.0)
    return found.path[min(at, key=lambda i: (found.path[i] in skip, -score[i], i))]
