"""Weighted nearest neighbors: the class of a test record by a vote of the train records near it.

Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination,
CVPR 2018, section 3.4.  https://arxiv.org/abs/1805.01978
"""

import logging

import numpy as np

from avjax.config import ranges
from avjax.evals.features import by_space
from avjax.types import NotApplicable


def make(k: int, temperature: float = 0.07, of: str = "features"):
    """A score: top-1 and top-5 in percent, for each modality and, of two or more, for "both".

    A neighbor votes for its class with weight exp(cosine / temperature).  The paper takes
    k = 200 on ImageNet; 20 suits a few thousand records.  Of fewer than k labeled train records
    all vote.  Each modality's votes are of the records that have it, "both"'s of those with all.

    Args:
      of: what cosines are of: "features", those of the encoder, or "embedding", those of the
        head, which is the paper's.
    """
    if not (isinstance(k, int) and k > 0):
        raise ValueError(f"k={k!r} neighbors: use 1 or more, e.g. 20")
    if of not in ("features", "embedding"):
        raise ValueError(f"of={of!r} of kNN: use features or embedding")
    if not temperature > 0:
        raise ValueError(f"temperature={temperature!r}: it must be above 0, e.g. 0.07")

    def score(train, test):
        neighbors(train, test, k)
        classes = 1 + max(train.label.max(), test.label.max())

        def of_space(name, train, test):
            near = neighbors(train, test, k)
            there, here = train.label >= 0, test.label >= 0
            query, key = joined(test, of)[here], joined(train, of)[there]
            votes = vote(query, key, train.label[there], classes, near, temperature)
            top = accuracy(votes, test.label[here])
            return {f"{name}/{metric}": value for metric, value in top.items()}

        return by_space("kNN", train, test, of_space)

    return score


def neighbors(train, test, k: int) -> int:
    """How many vote: k, or all labeled train records where they are fewer.

    Raises NotApplicable where a vote says nothing, ValueError where the suite has no train.
    """
    if train is None:
        raise ValueError("the votes are of train records: give the suite train=")
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


def joined(features, of: str) -> np.ndarray:
    """Rows of unit length [N, H], of several modalities side by side at equal weight."""
    out = [unit(m[of]) for m in features.modalities.values()]
    return unit(np.concatenate(out, axis=-1)) if len(out) > 1 else out[0]


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def vote(query, key, label, classes: int, k: int, temperature: float, cells: int = 2**24):
    """Votes [N, classes] on `query` [N, H] by the k nearest of `key` [M, H] with `label` [M].

    The votes of a row are right up to a factor; 0 is that of a class without a neighbor.  Raises
    ValueError where a row is not finite.
    """
    ranges.finite("test features of kNN", query)
    ranges.finite("train features of kNN", key)
    votes = np.zeros((len(query), classes))
    rows = max(1, cells // len(key))
    for start in range(0, len(query), rows):
        cosine = query[start : start + rows] @ key.T
        near = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
        cosine = np.take_along_axis(cosine, near, axis=1)
        # Relative to the nearest: the same winner, and no overflow at a low temperature.
        weight = np.exp((cosine - cosine.max(1, keepdims=True)) / temperature)
        weight = np.maximum(weight, np.finfo(weight.dtype).tiny)  # However far, it is a vote.
        here = np.arange(start, start + len(cosine))
        np.add.at(votes, (here[:, None], label[near]), weight)
    return votes


def accuracy(scores: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Top-1 and, of more than five classes, top-5 in percent, of votes [N, C].

    Classes with equal votes count at what they are worth in a random order, those without a vote
    not at all.
    """
    own = scores[np.arange(len(label)), label][:, None]
    greater, equal = (scores > own).sum(1), (scores == own).sum(1) - 1
    at = (1, 5) if scores.shape[1] > 5 else (1,)
    voted = own[:, 0] > 0
    hit = {k: np.where(voted, np.clip((k - greater) / (1 + equal), 0, 1), 0) for k in at}
    return {f"top{k}": 100 * float(hit[k].mean()) for k in at}
