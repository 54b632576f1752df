"""Features of the records of a data set by modality; some records may lack audio."""

import logging
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from avjax.types import NotApplicable

log = logging.getLogger(__name__)


class Features(NamedTuple):
    """Features of the N readable records of a data set."""

    # {"video": {"features": [N, H], "embedding": [N, D], "mask": bool [N]}}.  The mask, which may
    # be left out if all are True, is False for records without the modality, whose rows are 0.
    modalities: dict[str, dict[str, Any]]
    label: np.ndarray  # int32 [N], -1 if the source has none
    index: np.ndarray  # int32 [N], row in the source
    group: tuple | None  # N names, or None if no record has one
    classes: tuple[str, ...]
    path: tuple[str, ...] = ()  # N files
    swapped: np.ndarray | None = None  # bool [N], see swapped_audio; None if unknown


def modality_mask(features: Features, names: Iterable[str]) -> np.ndarray:
    """Returns which records have all of some modalities.

    Args:
      features: of N records.
      names: of the modalities.

    Returns:
      bool [N].
    """
    kept = np.ones(len(features.label), bool)
    for name in names:
        kept &= features.modalities[name].get("mask", True)
    return kept


def with_modalities(features: Features, names: Iterable[str]) -> Features:
    """Selects the records that have all of some modalities, and only these modalities.

    Args:
      features: of N records.
      names: of the modalities.
    """
    modalities = {name: features.modalities[name] for name in names}
    kept = np.flatnonzero(modality_mask(features, names))
    return select_records(features._replace(modalities=modalities), kept)


def select_records(features: Features, rows: np.ndarray) -> Features:
    """Selects records.

    Args:
      features: of N records.
      rows: int [M], positions of the records among the N.
    """
    return features._replace(
        modalities={
            name: {kind: value[rows] for kind, value in of.items()}
            for name, of in features.modalities.items()
        },
        label=features.label[rows],
        index=features.index[rows],
        group=features.group and tuple(features.group[i] for i in rows),
        path=features.path and tuple(features.path[i] for i in rows),
        swapped=None if features.swapped is None else features.swapped[rows],
    )


def sort_by_path(features: Features) -> Features:
    """Sorts records by path, so that what is learned does not depend on the order of the source.

    Args:
      features: of N records; unchanged if their paths are unknown.
    """
    if not features.path:
        return features
    order = sorted(range(len(features.path)), key=features.path.__getitem__)
    return select_records(features, np.asarray(order, np.int64))


def feature_spaces(features: Features) -> dict[str, tuple[str, ...]]:
    """Returns {name: its modalities}: each alone and, of two or more, "both" for all."""
    names = tuple(features.modalities)
    return {name: (name,) for name in names} | ({"both": names} if len(names) > 1 else {})


def records_per_space(features: Features) -> dict[str, int]:
    """Returns the number of records in each of `feature_spaces`."""
    return {
        name: int(modality_mask(features, of).sum())
        for name, of in feature_spaces(features).items()
    }


def score_by_space(
    title: str,
    train: Features | None,
    test: Features,
    score: Callable[[str, Features | None, Features], dict[str, float]],
) -> dict[str, float]:
    """Applies a score to each of `feature_spaces`, on the records that have its modalities.

    A space whose records do not allow the score is left out, with a line in the log.

    Args:
      title: start of that line.
      train, test: features.
      score: (name, train, test) -> {name: value}.

    Returns:
      {name: value} of all spaces.

    Raises:
      NotApplicable: no space allows the score.
    """
    out, reasons = {}, {}
    for name, of in feature_spaces(test).items():
        try:
            out |= score(name, train and with_modalities(train, of), with_modalities(test, of))
        except NotApplicable as error:
            reasons[name] = error
    if reasons and not out:
        raise next(iter(reasons.values()))
    for name, reason in reasons.items():
        log.warning("%s of %s left out: %s", title, name, reason)
    return out
