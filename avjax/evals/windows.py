"""Features of several windows of each record, for classifiers that average over the windows."""

from typing import NamedTuple

import numpy as np

from avjax.types import NotApplicable


class WindowFeatures(NamedTuple):
    """Features of W windows of each of N labeled records; each record has one window or more.

    Attributes:
      layers: {name: float32 [R, W, D]} of R records, memory-mapped or not; "audio" is what the
        encoder returns.
      rows: int [N], positions of the records among the R.
      mask: bool [N, W], False where there is no window.
      label: int32 [N].
      group: N names, or None; records of one group are cut from one recording.
      path: N files.
      classes: C names.
    """

    layers: dict[str, np.ndarray]
    rows: np.ndarray
    mask: np.ndarray
    label: np.ndarray
    group: tuple | None
    path: tuple[str, ...]
    classes: tuple[str, ...]


class Windows(NamedTuple):
    """The windows of one layer, one after the other.

    Attributes:
      x: float32 [M, D].
      record: int [M], whose window each is.
      label: int [M].
    """

    x: np.ndarray
    record: np.ndarray
    label: np.ndarray


def check(train: WindowFeatures, test: WindowFeatures) -> None:
    """Raises NotApplicable if train has fewer than two classes, or test has no records.

    Args:
      train, test: features.
    """
    classes = len(np.unique(train.label))
    if classes < 2:
        raise NotApplicable(f"needs two classes in train, which has {classes}")
    if not len(test.label):
        raise NotApplicable("needs records in test, which has none")


def sort_by_path(features: WindowFeatures) -> WindowFeatures:
    """Sorts records by path, so that what is learned does not depend on the order of the source.

    Args:
      features: of N records.
    """
    order = sorted(range(len(features.path)), key=features.path.__getitem__)
    return features._replace(
        rows=features.rows[order],
        mask=features.mask[order],
        label=features.label[order],
        group=features.group and tuple(features.group[i] for i in order),
        path=tuple(features.path[i] for i in order),
    )


def standardized(
    train: WindowFeatures, test: WindowFeatures, layer: str, epsilon: float = 1e-2
) -> tuple[Windows, Windows]:
    """Standardizes one layer with the mean and standard deviation of all windows of train.

    Args:
      train, test: features.
      layer: name of the layer.
      epsilon: added to the standard deviation.

    Returns:
      (windows of train, windows of test).
    """
    x, y = _windows(train, layer), _windows(test, layer)
    mean = x.x.mean(0, dtype=np.float64)
    deviation = np.sqrt(np.square(x.x - mean.astype(np.float32)).mean(0, dtype=np.float64))
    low, scale = mean.astype(np.float32), (1 / (deviation + epsilon)).astype(np.float32)
    return x._replace(x=(x.x - low) * scale), y._replace(x=(y.x - low) * scale)


def _windows(features, layer):
    record = np.nonzero(features.mask)[0]
    x = features.layers[layer][features.rows][features.mask]
    return Windows(x, record, features.label[record])


def mean_by_record(scores: np.ndarray, record: np.ndarray, count: int) -> np.ndarray:
    """Averages scores over the windows of each record.

    Args:
      scores: float [M, C].
      record: int [M], whose window each is.
      count: N.

    Returns:
      float64 [N, C].
    """
    total = np.zeros((count, scores.shape[1]))
    np.add.at(total, record, scores)
    return total / np.bincount(record, minlength=count)[:, None]
