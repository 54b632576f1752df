"""Cross-modal retrieval: recall of each record's own audio or video among all test records."""

import logging
from collections.abc import Callable, Sequence

import numpy as np

from avjax.config import ranges
from avjax.evals.features import Features, with_modalities
from avjax.types import NotApplicable

# Cosines of equal rows differ by float32 rounding, depending on their position in a block.
TIE = 1e-6


def make(
    ks: tuple[int, ...] = (1, 5, 10),
) -> Callable[[Features | None, Features], dict[str, float]]:
    """Cross-modal recall in percent, median rank, and class precision.

    For each query the keys are the other modality of every test record that has all modalities,
    sorted by cosine of embeddings; the record itself is correct.  Ties count by their expected
    value in a random order, so a net that maps everything to one point scores `chance`, not 100.
    `class_precision@1` is how often the nearest key is of the query's class, the record itself
    included.  Left out is what is 100 for any net: recall@k among k records or fewer,
    class_precision@1 among records of one class.

    Args:
      ks: ranks for recall@k.

    Returns:
      A score (train, test) -> {name: value} for avjax.evals.suite.
    """
    if not all(isinstance(k, int) and k > 0 for k in ks):
        raise ValueError(f"ks={ks!r}: use whole numbers of 1 or more, e.g. (1, 5, 10)")

    def score(train, test):
        test = with_modalities(test, test.modalities)
        size = len(test.label)
        if size < 2:
            raise NotApplicable(f"needs two test records, and there are {size}")
        fit = tuple(k for k in ks if k < size)
        classes = _classes(test.label)
        trivial = [f"recall@{k}" for k in ks if k >= size] + ["class_precision@1"] * (classes == 1)
        if trivial:
            logging.getLogger(__name__).warning(
                "retrieval among %d test records of %d classes: %s left out, 100 %% for any net",
                size,
                classes,
                ", ".join(trivial),
            )
        out = {}
        for query, q in test.modalities.items():
            for key, k in test.modalities.items():
                if query != key:
                    found = retrieve(q["embedding"], k["embedding"], test.label, fit)
                    out |= {f"{query[0]}2{key[0]}/{name}": v for name, v in found.items()}
        return out

    return score


def retrieve(
    query: np.ndarray, key: np.ndarray, label: np.ndarray, ks: Sequence[int]
) -> dict[str, float]:
    """Retrieval metrics of finding key[i] by query[i].

    Args:
      query, key: float [N, D] of unit length.
      label: int [N], -1 for none.
      ks: ranks for recall@k.

    Returns:
      {name: value}.

    Raises:
      ValueError: a row is not finite; no key would rank above that of a NaN.
    """
    ranges.check_finite("query embeddings of retrieval", query)
    ranges.check_finite("key embeddings of retrieval", key)
    greater, equal, same = ranks(query, key, label)
    n = len(query)
    # Of the 1 + equal ranks of a tie, k - greater are within the first k.
    out = {
        f"recall@{k}": 100 * float(np.clip((k - greater) / (1 + equal), 0, 1).mean()) for k in ks
    }
    out |= {"median_rank": float(np.median(1 + greater + equal / 2)), "chance": 100 / n}
    if _classes(label) > 1:
        count = np.bincount(label[label >= 0])
        out["class_precision@1"] = 100 * float(same[label >= 0].mean())
        out["class_chance"] = 100 * float((count / n) @ (count / count.sum()))
    return out


def _classes(label) -> int:
    return len(np.unique(label[label >= 0]))


def ranks(
    query: np.ndarray, key: np.ndarray, label: np.ndarray, cells: int = 2**25
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ranks the own key of each query among all keys by cosine.

    100,000 records take 134 MB, not 40 GB.

    Args:
      query, key: float [N, D] of unit length.
      label: int [N], -1 for none.
      cells: cosines in memory at a time.

    Returns:
      (keys above the own one, keys equal to it, share of the query's class among the nearest keys),
      each [N].
    """
    n = len(query)
    rows = max(1, cells // n)
    greater, equal, same = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n)
    for start in range(0, n, rows):
        cosine = query[start : start + rows] @ key.T
        block = np.arange(start, start + len(cosine))
        own = cosine[np.arange(len(cosine)), block][:, None]
        greater[block] = (cosine > own + TIE).sum(1)
        equal[block] = (cosine >= own - TIE).sum(1) - greater[block] - 1
        top = cosine >= cosine.max(1, keepdims=True) - TIE
        same[block] = [(label[t] == label[i]).mean() for t, i in zip(top, block)]
    return greater, equal, same
