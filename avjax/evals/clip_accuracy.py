"""Accuracy of a classifier on single clips, such as AVID's 25 random clips of each video."""

from collections.abc import Callable
from typing import Any

from avjax.evals import video_accuracy
from avjax.types import Evaluator, TrainState

METRICS = ("clip@1", "records", "dropped", "listed")


def make(data: dict[str, Any], batch_size: int = 64) -> Evaluator:
    """The `clip@1` of `avjax.evals.video_accuracy`, where videos are evaluated on other clips.

    An evaluation returns "clip@1" in percent, for several layers with "<layer>/" in front, and
    numbers of records.  Random clips are the same in every evaluation, see `pipeline.eval_batches`.

    Args:
      data: dict(source=, clip_sampler=, transforms=), with avjax.data.clip_sampling.random.
      batch_size: clips per batch of all hosts.

    Returns:
      An Evaluator.
    """
    of_videos = video_accuracy.make(data, batch_size)

    def evaluate(embed: Callable, ts: TrainState) -> dict:
        found = of_videos(embed, ts)
        kept = {name: found[name] for name in found if name.split("/")[-1] in METRICS}
        # The best layer is chosen by the accuracy on videos.
        return {name: kept[name] for name in kept if not name.startswith(video_accuracy.BEST)}

    return evaluate
