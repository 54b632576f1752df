"""Multisensory: are audio and frames of a video aligned, or seconds apart?

Owens and Efros, ECCV 2018, https://arxiv.org/abs/1804.03641.  One net fuses both modalities early;
half of the audio is from another time of the same video, so that one modality alone is
uninformative.
"""

from typing import Any

import jax
import jax.numpy as jnp

from avjax.losses.score_metrics import SCORES
from avjax.nets.forward import forward, init_model
from avjax.ops.normalize import l2_normalize
from avjax.types import Array, Method, Metrics


def make(model: Any, chunks: int = 1) -> Method:
    """Multisensory: classifies each clip with its own audio and with the shifted one.

    Args:
      model: {"video", "sounds" [B, S, N]} -> {"features" [B, S, H], "logit" [B, S]}, as
        `avjax.nets.joint.multisensory.Fused`.
      chunks: parts of a batch that the net processes in turn.

    Returns:
      A Method that logs "loss/...", "accuracy" and "score/...", and whose `embed` gives "fused",
      features of the clip with its own audio, and "match" [B], the logit that the two are aligned.
    """

    def init(rng, batch, size):
        params, stats, _ = init_model(model, rng, _inputs(batch, ("audio", "shifted")))
        return params, {"stats": stats}

    def loss(params, state, batch, rng):
        del rng
        pairs = _inputs(batch, ("audio", "shifted"))
        out, stats = forward(model, params, state["stats"], pairs, train=True, chunks=chunks)
        aligned, shifted = out["logit"][:, 0], out["logit"][:, 1]
        metrics = loss_and_scores(aligned, shifted)
        total = (metrics["loss/aligned"] + metrics["loss/shifted"]) / 2
        return total, ({"stats": stats}, metrics)

    def embed(params, state, batch):
        out = forward(model, params, state["stats"], _inputs(batch, ("audio",)), train=False)[0]
        features = out["features"][:, 0]
        fused = {"features": features, "embedding": l2_normalize(features)}
        return {"fused": fused, "match": out["logit"][:, 0]}

    return Method(init, loss, embed)


def loss_and_scores(aligned: Array, shifted: Array) -> Metrics:
    """Cross-entropies, accuracy and scores of a batch.

    Args:
      aligned: float [B], logits of clips with their own audio.
      shifted: float [B], logits of the same clips with audio of another time.

    Returns:
      {name: scalar}; "score/negatives_above_positive" is the share of clips whose shifted audio
      scores above their own.
    """
    right = (aligned > 0).mean() + (shifted <= 0).mean()
    return {
        "loss/aligned": jax.nn.softplus(-aligned).mean(),
        "loss/shifted": jax.nn.softplus(shifted).mean(),
        "accuracy": right / 2,
        **dict(zip(SCORES, (x.mean() for x in (aligned, shifted, shifted > aligned)))),
    }


def _inputs(batch, sounds) -> dict:
    """The frames of each clip, and some of its audio, stacked."""
    if missing := {"video", *sounds} - batch.keys():
        raise ValueError(
            f"Multisensory needs frames and audio, and the batch has no {sorted(missing)}: use "
            "videos with audio, and avjax.data.clip_sampling.with_shifted_audio as "
            "config.data.train.clip_sampler"
        )
    stacked = jnp.stack([batch[name] for name in sounds], 1)
    return {"video": batch["video"], "sounds": stacked, "index": batch["index"]}
