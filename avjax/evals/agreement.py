"""Agreement: does a clip's audio fit its frames, and does that find swapped audio?"""

import logging
from collections.abc import Callable

from avjax.evals import metrics
from avjax.evals.features import Features, with_modalities
from avjax.types import NotApplicable


def make() -> Callable[[Features | None, Features], dict[str, float]]:
    """Agreement of audio and frames.

    `mean` is that of avjax.evals.metrics.margin_scores over test records with all modalities.  If
    the source says which records have another record's audio (avjax.data.datasets.swapped_audio),
    `auroc` is how often a random swapped record scores below a random other one: 0.5 is chance, 1
    perfect.  It is left out if all records are swapped, or none.

    Returns:
      A score (train, test) -> {name: value} for avjax.evals.suite.
    """

    def score(train, test):
        test = with_modalities(test, test.modalities)
        if len(test.label) < 3:
            raise NotApplicable(f"needs three test records, and there are {len(test.label)}")
        swapped = test.swapped
        if swapped is not None and (swapped.all() or not swapped.any()):
            logging.getLogger(__name__).warning(
                "agreement: auroc left out: it needs records with and without swapped audio, and "
                "%d of %d test records have it",
                swapped.sum(),
                len(swapped),
            )
            swapped = None
        if not {"video", "audio"} <= set(test.modalities):
            return {}
        clip = metrics.margin_scores(
            *(test.modalities[name]["embedding"] for name in ("video", "audio"))
        )
        out = {"mean": float(clip.mean())}
        return (
            out
            if swapped is None
            else out | {"auroc": metrics.auroc(clip[~swapped], clip[swapped])}
        )

    return score
