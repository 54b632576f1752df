"""Weighted k-nearest-neighbor classification of test records by train records.

Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination,
CVPR 2018, section 3.4.  https://arxiv.org/abs/1805.01978
"""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from avjax.config import ranges
from avjax.evals.confusion import record_predictions
from avjax.evals.features import Features, score_by_space
from avjax.evals.metrics import accuracy, l2_normalize
from avjax.ops import exact_cosine, ranking
from avjax.types import NotApplicable


def make(
    k: int,
    temperature: float = 0.07,
    representation: str = "features",
    predictions: str | None = None,
) -> Callable[[Features | None, Features], dict[str, Any]]:
    """kNN top-1 and top-5 accuracy in percent, for each modality and, of two or more, for "both".

    A neighbor votes for its class with weight exp(cosine / temperature).  Each modality is scored
    on the records that have it, "both" on those with all.

    Args:
      k: neighbors; all labeled train records if they are fewer.  200 in the paper on ImageNet; 20
        suits a few thousand records.
      temperature: divisor of the cosines.
      representation: "features" of the encoder, or "embedding" of the head, as in the paper.
      predictions: "video", "audio" or "both" to return its predictions too, as of
        `confusion.prediction_arrays`; None for none.

    Returns:
      A score (train, test) -> {name: value} for avjax.evals.suite.
    """
    if not (isinstance(k, int) and k > 0):
        raise ValueError(f"k={k!r}: use 1 or more, e.g. 20")
    if representation not in ("features", "embedding"):
        raise ValueError(f"representation={representation!r}: use features or embedding")
    if not temperature > 0:
        raise ValueError(f"temperature={temperature!r}: it must be above 0, e.g. 0.07")

    def score(train, test):
        num_voters(train, test, k)
        classes = 1 + max(train.label.max(), test.label.max())
        arrays = {}

        def of_space(name, train, test):
            near = num_voters(train, test, k)
            train_labeled, test_labeled = train.label >= 0, test.label >= 0
            query, key = (
                joint_features(test, representation)[test_labeled],
                joint_features(train, representation)[train_labeled],
            )
            votes = vote(query, key, train.label[train_labeled], classes, near, temperature)
            top = accuracy(votes, test.label[test_labeled])
            if name == predictions:
                arrays.update(record_predictions(votes, test))
            return {f"{name}/{metric}": value for metric, value in top.items()}

        return score_by_space("kNN", train, test, of_space) | arrays

    return score


def num_voters(train: Features | None, test: Features, k: int) -> int:
    """Returns the number of voters: k, or all labeled train records if they are fewer.

    Args:
      train, test: features with labels.
      k: neighbors.

    Raises:
      NotApplicable: a vote says nothing.
      ValueError: the suite has no train records.
    """
    if train is None:
        raise ValueError("kNN needs train records: set train= of the suite")
    labeled = train.label[train.label >= 0]
    if (classes := len(np.unique(labeled))) < 2:
        raise NotApplicable(f"needs two classes in train, which has {classes}")
    if not (test.label >= 0).any():
        raise NotApplicable("needs labels in test, which has none")
    if k > len(labeled):
        logging.getLogger(__name__).warning(
            "kNN with k=%d is more than the %d labeled train records: all of them vote",
            k,
            len(labeled),
        )
    return min(k, len(labeled))


def joint_features(features: Features, representation: str) -> np.ndarray:
    """Concatenates modalities at equal weight.

    Args:
      features: of N records, all of which have all modalities.
      representation: "features" or "embedding".

    Returns:
      float [N, H], rows of unit length.
    """
    out = [l2_normalize(m[representation]) for m in features.modalities.values()]
    return l2_normalize(np.concatenate(out, axis=-1)) if len(out) > 1 else out[0]


def vote(
    query: np.ndarray,
    key: np.ndarray,
    label: np.ndarray,
    classes: int,
    k: int,
    temperature: float,
    cells: int = ranking.CELLS,
) -> np.ndarray:
    """Votes of the k nearest keys of each query, found on the devices.

    Votes are equal for any number of devices, any block and any order of keys.  Keys that tie for
    the last places share the votes of these places: each counts by its chance in a random order.

    Args:
      query: float [N, H].
      key: float [M, H].
      label: int [M], 0 or more.
      classes: number of classes.
      k: neighbors, at most M.
      temperature: divisor of the cosines.
      cells: cosines per device in memory at a time.

    Returns:
      Votes [N, classes], each row up to a factor; -inf for a class without a neighbor.

    Raises:
      ValueError: a row is not finite.
    """
    ranges.check_finite("test features of kNN", query)
    ranges.check_finite("train features of kNN", key)
    votes = np.zeros((len(query), classes))
    for block, found in ranking.nearest(query, key, label, k, classes, cells):
        votes[block] = count_votes(found, temperature)
    return np.where(votes > 0, votes, -np.inf)


def count_votes(found: ranking.Neighbors, temperature: float) -> np.ndarray:
    """Adds up the votes of neighbors.

    Args:
      found: neighbors of N queries.
      temperature: divisor of the cosines.

    Returns:
      float64 [N, C], each row up to a factor; 0 for a class without a neighbor.
    """
    rows, k = found.score.shape
    # Relative to the nearest: the same result, without overflow at a low temperature.
    distance = (found.score - found.score[:, :1]) / exact_cosine.ONE
    weight = np.maximum(np.exp(distance / temperature), np.finfo(np.float64).tiny)  # Never 0.
    tied = found.tied.sum(axis=1)
    alone = np.where(tied > 0, found.above, k)
    votes = np.zeros(found.tied.shape)
    weights = np.where(np.arange(k) < alone[:, None], weight, 0)
    np.add.at(votes, (np.arange(rows)[:, None], found.label), weights)
    share = (k - alone) / np.maximum(tied, 1) * weight[:, -1]
    return votes + share[:, None] * found.tied
