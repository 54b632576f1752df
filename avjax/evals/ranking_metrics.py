"""Metrics of one ranking per query, from the exact ranks of its relevant records.

Records of equal cosine enter a ranking together, as in scikit-learn: nothing depends on the order
of records.  A rank that falls within such a group counts by the share of the group above it.
"""

import functools
import math

import numpy as np

from avjax.ops.ranking import Ranks


def average_precision(ranks: Ranks) -> np.ndarray:
    """Average precision of the full ranking: mean precision at the relevant records.

    That is `sklearn.metrics.average_precision_score`.

    Args:
      ranks: of the relevant records of Q queries, one or more each.

    Returns:
      float64 [Q], 0 to 1.
    """
    relevant, _, hits = _groups(ranks)
    precision = np.where(relevant, hits / np.maximum(ranks.through, 1), 0)
    return precision.sum(axis=1) / relevant.sum(axis=1)


def truncated_average_precision(ranks: Ranks, cut: int) -> np.ndarray:
    """Average precision of the first `cut` records, divided by the relevant ones among them.

    Not comparable with `average_precision`, whose divisor is the number of all relevant records.

    Args:
      ranks: of the relevant records of Q queries.
      cut: number of records.

    Returns:
      float64 [Q], 0 to 1; NaN for queries without a relevant record among them.
    """
    relevant, before, hits = _groups(ranks)
    size = np.maximum(ranks.through - ranks.above, 1)
    inside = np.where(relevant, np.clip(cut - ranks.above, 0, size), 0)
    share = inside / size
    found = before + (hits - before) * share
    precision = found / np.maximum(ranks.above + inside, 1)
    weight = share.sum(axis=1)
    total = (share * precision).sum(axis=1)
    return np.divide(total, weight, out=np.full(len(weight), np.nan), where=weight > 0)


def first_rank(ranks: Ranks) -> np.ndarray:
    """Rank of the first relevant record; of a tie, its expected value in a random order.

    Args:
      ranks: of the relevant records of Q queries, one or more each.

    Returns:
      float64 [Q], 1 or more.
    """
    above, size, relevant = _first_group(ranks)
    return above + (size + 1) / (relevant + 1)


def recall(ranks: Ranks, k: int) -> np.ndarray:
    """Whether a relevant record is among the first k; of a tie, the probability in a random order.

    Args:
      ranks: of the relevant records of Q queries, one or more each.
      k: number of records.

    Returns:
      float64 [Q], 0 to 1.
    """
    above, size, relevant = _first_group(ranks)
    drawn = np.clip(k - above, 0, size)
    out = (drawn > 0).astype(np.float64)
    for i in np.flatnonzero((drawn > 0) & (relevant < size)):
        out[i] = _probability_of_hit(int(size[i]), int(relevant[i]), int(drawn[i]))
    return out


@functools.cache
def _probability_of_hit(size: int, relevant: int, drawn: int) -> float:
    """The probability that `drawn` of `size` records contain one of the relevant ones."""
    return 1 - math.comb(size - relevant, drawn) / math.comb(size, drawn)


def _groups(ranks):
    """(mask, hits above, hits through) [Q, R]: hits above and through the tie of each record."""
    relevant = ranks.above >= 0
    place = np.broadcast_to(np.arange(relevant.shape[1]), relevant.shape)
    changes = ranks.above[:, 1:] != ranks.above[:, :-1]  # Also where the relevant ones end.
    edge = np.ones((len(relevant), 1), bool)
    first, last = np.hstack([edge, changes]), np.hstack([changes, edge])
    before = np.maximum.accumulate(np.where(first, place, 0), axis=1)
    ends = np.where(last, place + 1, place.shape[1])
    through = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
    return relevant, before, through


def _first_group(ranks):
    """(records above, size, relevant records) [Q] of the tie of the first relevant record."""
    above, through = ranks.above[:, 0], ranks.through[:, 0]
    same = (ranks.above == above[:, None]).sum(axis=1)
    return above, through - above, same
