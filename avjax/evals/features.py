"""What a net makes of the records of a data set, by modality: some records have no sound."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from avjax.types import NotApplicable

log = logging.getLogger(__name__)


class Features(NamedTuple):
    """What a net makes of the N records of a data set that could be read."""

    # {"video": {"features": [N, H], "embedding": [N, D], "mask": bool [N]}}.  The mask, which may
    # be left out where all are True, is False for records without the modality: their rows are 0.
    modalities: dict[str, dict[str, Any]]
    label: np.ndarray  # int32 [N], -1 where the source has none
    index: np.ndarray  # int32 [N], row in the source
    group: tuple | None  # N names, or None where no record has one
    classes: tuple[str, ...]
    path: tuple[str, ...] = ()  # N files
    swapped: np.ndarray | None = None  # bool [N], see swapped_audio; None where that is not known


def mask_of(features: Features, names) -> np.ndarray:
    """Which of the N records have all of the modalities `names`: bool [N]."""
    kept = np.ones(len(features.label), bool)
    for name in names:
        kept &= features.modalities[name].get("mask", True)
    return kept


def having(features: Features, names) -> Features:
    """The records that have all of the modalities `names`, and of the modalities only these."""
    modalities = {name: features.modalities[name] for name in names}
    kept = np.flatnonzero(mask_of(features, names))
    return taken(features._replace(modalities=modalities), kept)


def taken(features: Features, rows: np.ndarray) -> Features:
    """The records `rows`, int [M], of the N."""
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


def spaces(features: Features) -> dict[str, tuple[str, ...]]:
    """{name: its modalities}: each alone and, of two or more, "both" for all side by side."""
    names = tuple(features.modalities)
    return {name: (name,) for name in names} | ({"both": names} if len(names) > 1 else {})


def counts(features: Features) -> dict[str, int]:
    """How many records each of `spaces` has."""
    return {name: int(mask_of(features, of).sum()) for name, of in spaces(features).items()}


def by_space(
    title: str,
    train: Features | None,
    test: Features,
    score: Callable[[str, Features | None, Features], dict[str, float]],
) -> dict[str, float]:
    """What `score` says of each of `spaces`, of the records that have its modalities.

    A space whose records do not allow it is left out with a line in the log that begins with
    `title`; NotApplicable where that is all of them.
    """
    out, reasons = {}, {}
    for name, of in spaces(test).items():
        try:
            out |= score(name, train and having(train, of), having(test, of))
        except NotApplicable as error:
            reasons[name] = error
    if reasons and not out:
        raise next(iter(reasons.values()))
    for name, reason in reasons.items():
        log.warning("%s of %s left out: %s", title, name, reason)
    return out
