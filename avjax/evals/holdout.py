"""A part of the train records for selection: stratified by class, groups kept together."""

from collections.abc import Sequence

import numpy as np

from avjax.types import NotApplicable


def holdout_mask(
    label: np.ndarray, group: Sequence[str | None] | None, validation: float, seed: int
) -> np.ndarray:
    """Which train records to hold out: about `validation` of each class, groups kept together.

    Clips cut from one video reveal each other's class.  Groups are taken in random order if they
    bring the classes nearer to their share.

    Args:
      label: int [N].
      group: N names or None.
      validation: share to hold out.
      seed: of the order.

    Returns:
      bool [N].

    Raises:
      NotApplicable: too few records or groups.
    """
    name = [
        ("row", i) if group is None or group[i] is None else group[i] for i in range(len(label))
    ]
    groups = {}
    for i, g in enumerate(name):
        groups.setdefault(g, []).append(i)
    want = validation * np.bincount(label).astype(float)
    held = np.zeros(len(label), bool)
    members = list(groups.values())
    for i in np.random.default_rng(seed).permutation(len(members)):
        gain = np.bincount(label[members[i]], minlength=len(want))
        if np.abs(want - gain).sum() < np.abs(want).sum():
            want -= gain
            held[members[i]] = True
    if not held.any() or len(np.unique(label[~held])) < 2:
        raise NotApplicable(
            f"{len(label)} labeled train records in {len(groups)} groups leave no validation part "
            f"of {validation:.0%}: use more records, or a single value of l2_regs"
        )
    return held
