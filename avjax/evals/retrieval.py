"""Cross-modal retrieval: does a video find its own sound among all test records, and back?"""

import logging

import numpy as np

from avjax.config import ranges
from avjax.evals.features import having
from avjax.types import NotApplicable

# Cosines of equal rows differ by float32 rounding, according to where in a block they fall.
TIE = 1e-6


def make(at: tuple[int, ...] = (1, 5, 10)):
    """A score: recall at `at` in percent, median rank, and precision at 1 by class.

    For each query the keys are the other modality of every test record that has all modalities,
    ordered by cosine of embeddings; right is the record itself.  Ties count at what they are worth
    in a random order, so a net that maps everything to one point scores `chance`, not 100.
    `class_p1` is how often the nearest key is of the query's class, the record itself included.
    What is 100 for any net is left out: recall at k among k records or fewer, and `class_p1` among
    records of one class.
    """
    if not all(isinstance(k, int) and k > 0 for k in at):
        raise ValueError(f"at={at!r}: use whole numbers of 1 or more, e.g. (1, 5, 10)")

    def score(train, test):
        test = having(test, test.modalities)
        size = len(test.label)
        if size < 2:
            raise NotApplicable(f"needs two test records, and there are {size}")
        fit = tuple(k for k in at if k < size)
        classes = _classes(test.label)
        if spare := [f"R@{k}" for k in at if k >= size] + ["class_p1"] * (classes == 1):
            logging.getLogger(__name__).warning(
                "retrieval among %d test records of %d classes: %s left out, 100 %% for any net",
                size,
                classes,
                ", ".join(spare),
            )
        out = {}
        for query, q in test.modalities.items():
            for key, k in test.modalities.items():
                if query != key:
                    found = retrieve(q["embedding"], k["embedding"], test.label, fit)
                    out |= {f"{query[0]}2{key[0]}/{name}": v for name, v in found.items()}
        return out

    return score


def retrieve(query, key, label, at) -> dict[str, float]:
    """Scores of finding key[i] by query[i], both [N, D] of unit length; label [N].

    Raises ValueError where a row is not finite: no key would rank above that of a NaN.
    """
    ranges.finite("query embeddings of retrieval", query)
    ranges.finite("key embeddings of retrieval", key)
    greater, equal, same = ranks(query, key, label)
    n = len(query)
    # Of 1 + equal places a tie shares, k - greater lie within the first k.
    out = {f"r{k}": 100 * float(np.clip((k - greater) / (1 + equal), 0, 1).mean()) for k in at}
    out |= {"median_rank": float(np.median(1 + greater + equal / 2)), "chance": 100 / n}
    if _classes(label) > 1:
        count = np.bincount(label[label >= 0])
        out["class_p1"] = 100 * float(same[label >= 0].mean())
        out["class_chance"] = 100 * float((count / n) @ (count / count.sum()))
    return out


def _classes(label) -> int:
    return len(np.unique(label[label >= 0]))


def ranks(query, key, label, cells: int = 2**25):
    """For each query [N]: keys above its own, keys equal to it, share of its class at the top.

    Works through `cells` cosines at a time, so 100,000 records take 134 MB, not 40 GB.
    """
    n = len(query)
    rows = max(1, cells // n)
    greater, equal, same = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n)
    for start in range(0, n, rows):
        cosine = query[start : start + rows] @ key.T
        here = np.arange(start, start + len(cosine))
        own = cosine[np.arange(len(cosine)), here][:, None]
        greater[here] = (cosine > own + TIE).sum(1)
        equal[here] = (cosine >= own - TIE).sum(1) - greater[here] - 1
        top = cosine >= cosine.max(1, keepdims=True) - TIE
        same[here] = [(label[t] == label[i]).mean() for t, i in zip(top, here)]
    return greater, equal, same
