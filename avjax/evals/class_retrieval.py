"""Retrieval of records of the same class, within a modality and across modalities.

Every test record is a query.  The gallery is ranked by cosine; records of the query's class are
relevant.  Ranks are exact integers (avjax.ops.ranking), so the metrics are the same for any number
of devices, any block and any order of records.
"""

import itertools
import logging
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from avjax.config import ranges
from avjax.evals import ranking_metrics
from avjax.evals.features import Features, modality_mask, select_records
from avjax.evals.knn import joint_features
from avjax.ops import ranking
from avjax.types import NotApplicable

log = logging.getLogger(__name__)


class Direction(NamedTuple):
    """What is compared with what: modalities of the query and of the gallery."""

    name: str
    query: tuple[str, ...]
    key: tuple[str, ...]


def make(
    ks: tuple[int, ...] = (1, 5, 10, 20),
    cuts: tuple[int, ...] = (100, 500),
    gallery: str = "train",
    representation: str = "features",
    directions: tuple[str, ...] | None = None,
) -> Callable[[Features | None, Features], dict[str, float]]:
    """Recall@k and mean average precision in percent, and median rank, of class retrieval.

    Directions are "v2v" and "a2a" within a modality, "v2a" and "a2v" across, and "both" for all
    modalities concatenated at equal weight.  Only records with a label and the modalities of their
    side take part.  A query whose class the gallery lacks is left out.

    Args:
      ks: ranks for recall@k.
      cuts: ranks for map_truncated@cut.
      gallery: "train" for all train records, or "test" for all test records but the query itself.
      representation: "features" of the encoder or "embedding" of the head, for the directions
        within a modality and for "both"; across modalities it is always the embedding.
      directions: names; None for all that the nets allow.

    Returns:
      A score (train, test) -> {"<direction>/<metric>": value} for avjax.evals.suite, with the
      metrics of `retrieval_metrics`.
    """
    for name, values in (("ks", ks), ("cuts", cuts)):
        for value in values:
            ranges.check_integer(f"a rank of {name}", value)
    if gallery not in ("train", "test"):
        raise ValueError(f"gallery={gallery!r}: use train or test")
    if representation not in ("features", "embedding"):
        raise ValueError(f"representation={representation!r}: use features or embedding")
    known = {"v2v", "a2a", "v2a", "a2v", "both"}
    if directions is not None and not (directions and set(directions) <= known):
        raise ValueError(f"directions={directions!r}: use some of {', '.join(sorted(known))}")

    def score(train, test):
        records = gallery_records(gallery, train, test)
        out, reasons = {}, {}
        for one in find_directions(test, directions):
            kind = representation if one.query == one.key else "embedding"
            try:
                found = search(one, records, test, gallery == "test", kind, ks, cuts)
            except NotApplicable as error:
                reasons[one.name] = error
                continue
            out |= {f"{one.name}/{name}": value for name, value in found.items()}
        if reasons and not out:
            raise next(iter(reasons.values()))
        for name, reason in reasons.items():
            log.warning("class retrieval %s left out: %s", name, reason)
        return out

    return score


def gallery_records(gallery: str, train: Features | None, test: Features) -> Features:
    """Returns the records of the gallery.

    Args:
      gallery: "train" or "test".
      train, test: features with labels.

    Raises:
      ValueError: the suite has no train records.
      NotApplicable: there are fewer than two classes, or no query has a relevant record.
    """
    if gallery == "train" and train is None:
        raise ValueError("class retrieval needs train records: set train=, or gallery='test'")
    records = test if gallery == "test" or train is None else train
    if (classes := len(np.unique(records.label[records.label >= 0]))) < 2:
        raise NotApplicable(f"needs two classes in the gallery, which has {classes}")
    if not (test.label >= 0).any():
        raise NotApplicable("needs labels in test, which has none")
    count = np.bincount(records.label[records.label >= 0], minlength=1 + test.label.max())
    if not (count[test.label[test.label >= 0]] > (gallery == "test")).any():
        raise NotApplicable("no test record has another record of its class in the gallery")
    return records


def find_directions(test: Features, wanted: Sequence[str] | None) -> list[Direction]:
    """Returns the directions that the modalities of the test records allow.

    Args:
      test: features.
      wanted: names; None for all.

    Raises:
      NotApplicable: the nets allow none of those that are wanted.
    """
    names = tuple(test.modalities)
    pairs = itertools.product(names, repeat=2)
    found = [Direction(f"{one[0]}2{other[0]}", (one,), (other,)) for one, other in pairs]
    found += [Direction("both", names, names)] if len(names) > 1 else []
    kept = [one for one in found if wanted is None or one.name in wanted]
    if found and not kept:
        raise NotApplicable(f"{', '.join(wanted or ())}: these nets have {', '.join(names)} only")
    return kept


def search(
    direction: Direction,
    gallery: Features,
    test: Features,
    same: bool,
    kind: str,
    ks: Sequence[int],
    cuts: Sequence[int],
) -> dict[str, float]:
    """Ranks the gallery for every query of one direction.

    Args:
      direction: what is compared.
      gallery, test: features.
      same: whether `gallery` is `test`, where a query does not find itself.
      kind: "features" or "embedding".
      ks, cuts: ranks, see `make`.

    Returns:
      {metric: value}.

    Raises:
      NotApplicable: no query has a relevant record.
      ValueError: rows are not finite, or not comparable.
    """
    rows = [
        np.flatnonzero(modality_mask(records, names) & (records.label >= 0))
        for records, names in ((test, direction.query), (gallery, direction.key))
    ]
    kept, others = (select_records(r, row) for r, row in zip((test, gallery), rows))
    count = np.bincount(others.label, minlength=1 + max([-1, *kept.label]))
    itself = np.isin(rows[0], rows[1]) & same
    answerable = np.flatnonzero(count[kept.label] - itself > 0)
    if not len(answerable):
        raise NotApplicable("no test record has another record of its class in the gallery")
    if len(answerable) < len(kept.label):
        lacking = len(kept.label) - len(answerable)
        log.warning(
            "class retrieval %s: %d of %d queries left out, whose class the gallery lacks",
            direction.name, lacking, len(kept.label),
        )  # fmt: skip
    kept, own = select_records(kept, answerable), None
    if same:
        own = np.where(itself, np.searchsorted(rows[1], rows[0]), -1)[answerable]
    query, key = (
        joint_features(part._replace(modalities={n: part.modalities[n] for n in names}), kind)
        for part, names in ((kept, direction.query), (others, direction.key))
    )
    return retrieval_metrics(query, key, kept.label, others.label, own, ks, cuts, direction.name)


def retrieval_metrics(
    query: np.ndarray,
    key: np.ndarray,
    query_label: np.ndarray,
    key_label: np.ndarray,
    own: np.ndarray | None = None,
    ks: Sequence[int] = (1, 5, 10, 20),
    cuts: Sequence[int] = (100, 500),
    name: str = "",
    cells: int = ranking.CELLS,
) -> dict[str, float]:
    """Metrics of ranking a gallery by cosine for queries that all have a relevant record.

    Left out is recall@k for k of the gallery's size or more, which is 100 for any net.

    Args:
      query, key: float [Q, D] and [K, D], of any length.
      query_label, key_label: int [Q] and [K], 0 or more.
      own: int [Q], row of the gallery that is the query itself; -1 or None for none.
      ks: ranks for recall@k, the share of queries with a relevant record among the first k.
      cuts: ranks for map_truncated@cut, see `ranking_metrics.truncated_average_precision`; queries
        without a hit are skipped.
      name: of the comparison, for messages.
      cells: cosines per device in memory at a time.

    Returns:
      {"recall@k", "map", "map_truncated@cut", "class_chance"} in percent, "median_rank" of the
      first relevant record, and "queries", their number.  class_chance is the mean share of
      relevant records in the gallery: recall@1 and map of a net that maps everything to one point.

    Raises:
      NotApplicable: query and gallery are of different widths.
      ValueError: a row is not finite.
    """
    ranges.check_finite(f"query features of class retrieval {name}", query)
    ranges.check_finite(f"gallery features of class retrieval {name}", key)
    if query.shape[1] != key.shape[1]:
        raise NotApplicable(
            f"{name} compares rows of {query.shape[1]} and {key.shape[1]} numbers: these nets have "
            "no space that modalities share"
        )
    size = np.full(len(query), len(key)) - (0 if own is None else own >= 0)
    ks = [k for k in ks if k < size.min()]
    parts = {}
    for _, ranks in ranking.relevant_ranks(query, key, query_label, key_label, own, cells):
        for metric, values in _per_query(ranks, ks, cuts).items():
            parts.setdefault(metric, []).append(values)
    values = {metric: np.concatenate(found) for metric, found in parts.items()}
    relevant = values.pop("relevant")
    out = {"median_rank": float(np.median(values.pop("rank")))}
    out |= {metric: 100 * _mean(found[~np.isnan(found)]) for metric, found in values.items()}
    return out | {"class_chance": 100 * _mean(relevant / size), "queries": len(query)}


def _per_query(ranks, ks, cuts) -> dict[str, np.ndarray]:
    """{metric: [Q]} of a block of queries."""
    out = {f"recall@{k}": ranking_metrics.recall(ranks, k) for k in ks}
    out["map"] = ranking_metrics.average_precision(ranks)
    for cut in cuts:
        out[f"map_truncated@{cut}"] = ranking_metrics.truncated_average_precision(ranks, cut)
    relevant = (ranks.above >= 0).sum(axis=1)
    return out | {"rank": ranking_metrics.first_rank(ranks), "relevant": relevant}


def _mean(values: np.ndarray) -> float:
    """The mean, the same for any order of the values; 0 of none."""
    return math.fsum(values) / max(len(values), 1)
