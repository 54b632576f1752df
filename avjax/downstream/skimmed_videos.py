"""What a skimming net says of long videos."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from avjax.data import pipeline
from avjax.data.transforms.descriptors import VALID
from avjax.evals import clip_selection
from avjax.types import TrainState


class Skimmed(NamedTuple):
    """Of V videos with up to N clips.

    Attributes:
      probability: of the classes, by the net's own classifier, float64 [V, C].
      scores: of the clips, see `clip_selection.skimming_scores`, float [V, N].
    """

    probability: np.ndarray
    scores: np.ndarray


def skim(
    embed: Callable, ts: TrainState, data: dict[str, Any], rows: np.ndarray, every: int,
    batch_size: int,
) -> Skimmed:  # fmt: skip
    """Applies the skimming net of a run.

    Args:
      embed, ts: as of an Evaluator.
      data: of descriptors, all clips of a video in order.
      rows: int [V], the videos.
      every: distance of the clips that the net gets; the others are left out.
      batch_size: videos per batch.

    Raises:
      ValueError: the method gives no attention.
    """
    logits, scores, place = {}, {}, {int(row): i for i, row in enumerate(rows)}
    options = {name: value for name, value in data.items() if name != "max_unreadable"}
    for batch in pipeline.eval_batches(**options, batch_size=batch_size):
        out = embed(ts, keep_every(batch, every))
        if "modality_weights" not in out:
            raise ValueError("the method gives no attention over clips: use avjax.methods.skimming")
        found = clip_selection.skimming_scores(attention_of(out), out["modality_weights"])
        for i in np.flatnonzero(out["mask"]):
            if (row := int(out["index"][i])) in place:
                logits[place[row]], scores[place[row]] = out["logits"][i], found[i]
    x = np.stack([logits[i] for i in range(len(rows))]).astype(np.float64)
    e = np.exp(x - x.max(1, keepdims=True))
    return Skimmed(e / e.sum(1, keepdims=True), np.stack([scores[i] for i in range(len(rows))]))


def attention_of(out: dict[str, Any]) -> dict[str, np.ndarray]:
    """Returns {modality: [B, T, N]} of the result of `embed`, image first."""
    names = [name for name in ("image", "audio") if f"attention/{name}" in out]
    return {name: np.asarray(out[f"attention/{name}"]) for name in names}


def keep_every(batch: dict[str, np.ndarray], every: int) -> dict[str, np.ndarray]:
    """Returns a batch of descriptors with clips 0, every, 2 * every ... of each video only.

    Args:
      batch: see `avjax.data.transforms.descriptors`.
      every: 1 keeps all.
    """
    out = dict(batch)
    for name in batch if every > 1 else ():
        if name == VALID or name.endswith("_features"):
            kept = batch[name][:, ::every]
            out[name] = np.zeros_like(batch[name])
            out[name][:, : kept.shape[1]] = kept
    return out
