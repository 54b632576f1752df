"""Agreement: does a clip's sound fit its picture, and does that find sound which was swapped?"""

import logging

import numpy as np

from avjax.evals import metrics
from avjax.evals.features import having
from avjax.types import NotApplicable


def make():
    """A score: `mean`, over test records that have all modalities, of avjax.evals.metrics.clips.

    Where the source says which records have the sound of another (see
    avjax.data.datasets.swapped_audio), also `auroc`: how often a swapped record, drawn at random,
    agrees less than one that is not; 0.5 is chance and 1 perfect.  Where all of them or none are,
    `auroc` is left out.
    """

    def score(train, test):
        test = having(test, test.modalities)
        if len(test.label) < 3:
            raise NotApplicable(f"needs three test records, and there are {len(test.label)}")
        swapped = test.swapped
        if swapped is not None and (swapped.all() or not swapped.any()):
            logging.getLogger(__name__).warning(
                "agreement: auroc left out: it needs records with swapped sound and without, and "
                "%d of %d test records have it",
                swapped.sum(),
                len(swapped),
            )
            swapped = None
        if not {"video", "audio"} <= set(test.modalities):
            return {}
        clip = metrics.clips(*(test.modalities[name]["embedding"] for name in ("video", "audio")))
        out = {"mean": float(clip.mean())}
        return out if swapped is None else out | {"auroc": auroc(clip, swapped)}

    return score


def auroc(score, found) -> float:
    """P(score of a `found` one < score of another) of [N] and bool [N]; ties count half."""
    found = np.asarray(found, bool)
    rest = np.sort(score[~found])
    below = sum(np.searchsorted(rest, score[found], side) for side in ("left", "right"))
    return float(1 - below.mean() / (2 * len(rest)))
