"""Which classes are taken for which: confusion matrix, accuracy per class, hardest confusions."""

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from avjax.evals.features import Features


class Confusion(NamedTuple):
    """Records of one class that are predicted as another.

    Attributes:
      label, predicted: class.
      count: number of such records.
      share: of the records of class `label`.
    """

    label: int
    predicted: int
    count: int
    share: float


def confusion_matrix(label: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts records by class and prediction.

    Args:
      label, predicted: int [N]; records with a label of -1 do not count.
      classes: C.

    Returns:
      int64 [C, C], rows are the true classes.

    Raises:
      ValueError: a class is not below C, or a prediction is negative.
    """
    known = label >= 0
    label, predicted = label[known].astype(np.int64), predicted[known].astype(np.int64)
    for name, value in (("label", label), ("prediction", predicted)):
        if len(value) and not 0 <= value.min() <= value.max() < classes:
            raise ValueError(
                f"{name} {value.max() if value.min() >= 0 else value.min()} in a confusion matrix "
                f"of {classes} classes: use 0 to {classes - 1}"
            )
    counts = np.bincount(label * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes)


def accuracy_per_class(matrix: np.ndarray) -> np.ndarray:
    """Returns the accuracy of each class in percent; NaN for classes without records.

    Args:
      matrix: int [C, C], as of `confusion_matrix`.

    Returns:
      float64 [C].
    """
    count = matrix.sum(axis=1)
    correct = np.diagonal(matrix).astype(np.float64)
    return 100 * np.divide(correct, count, out=np.full(len(count), np.nan), where=count > 0)


def mean_class_accuracy(matrix: np.ndarray) -> float:
    """Returns the mean accuracy in percent of the classes that have records; NaN if none has.

    Args:
      matrix: int [C, C], as of `confusion_matrix`.
    """
    known = accuracy_per_class(matrix)
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else float("nan")


def hardest_confusions(matrix: np.ndarray, most: int = 10) -> list[Confusion]:
    """Returns the most frequent confusions, by their share of the records of the class.

    Args:
      matrix: int [C, C], as of `confusion_matrix`.
      most: maximum number.

    Returns:
      By falling share, then count; of equal ones, by class.
    """
    wrong = matrix * (1 - np.eye(len(matrix), dtype=matrix.dtype))
    size = matrix.sum(axis=1)
    found = [
        Confusion(int(i), int(j), int(wrong[i, j]), float(wrong[i, j] / size[i]))
        for i, j in zip(*np.nonzero(wrong))
    ]
    return sorted(found, key=lambda c: (-c.share, -c.count, c.label, c.predicted))[:most]


def prediction_arrays(
    scores: np.ndarray, label: np.ndarray, paths: Sequence[str] = (), classes: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Returns the predictions of N records, as a report reads them.

    Of classes with equal scores the first is predicted; accuracies that count ties by their
    expected value may differ from those of the matrix.

    Args:
      scores: float [N, C], one finite value per row or more; softmax probabilities, votes or
        margins.
      label: int [N], -1 for none.
      paths: N files, or none.
      classes: C names, or none.

    Returns:
      {"label": int32 [N], "predicted": int32 [N], "score": float32 [N] of the predicted class,
      "confusion": int64 [C, C]} and, if known, {"path": bytes [N], "classes": str [C]}.
    """
    predicted = scores.argmax(axis=1).astype(np.int32)
    score = np.take_along_axis(scores, predicted[:, None], axis=1)[:, 0].astype(np.float32)
    out = {
        "label": label.astype(np.int32),
        "predicted": predicted,
        "score": score,
        "confusion": confusion_matrix(label, predicted, scores.shape[1]),
    }
    if len(paths):
        out["path"] = np.array([os.fsencode(path) for path in paths])
    return out | ({"classes": np.array(classes)} if len(classes) else {})


def record_predictions(scores: np.ndarray, test: Features) -> dict[str, np.ndarray]:
    """Returns `prediction_arrays` of the labeled records.

    Args:
      scores: float [N, C], of the labeled records.
      test: features of all records.
    """
    rows = np.flatnonzero(test.label >= 0)
    paths = [test.path[i] for i in rows] if test.path else ()
    return prediction_arrays(scores, test.label[rows], paths, test.classes)
