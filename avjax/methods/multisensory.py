"""Multisensory: whether sound and picture of a video are in step or seconds apart.

Owens and Efros, ECCV 2018, https://arxiv.org/abs/1804.03641.  One net sees and hears a clip; half
of the sounds are those of another time of the same video, so that what is seen or heard alone
says nothing.
"""

import jax
import jax.numpy as jnp

from avjax.nets.forward import forward
from avjax.ops.normalize import l2_normalize
from avjax.types import Method


def make(model, chunks: int = 1) -> Method:
    """Each clip is judged twice: with its own sound, and with the one that is shifted.

    model: {"video", "sounds" [B, S, N]} -> {"features" [B, S, H], "logit" [B, S]}, as
      `avjax.nets.joint.multisensory.Fused`.  `embed` gives "fused", features of the clip with its
      own sound, and "match" [B], the logit of the two being in step.
    """

    def init(rng, batch, size):
        stats = model.init(rng, _heard(batch, ("audio", "shifted")), train=False)
        return stats.pop("params"), {"stats": stats}

    def loss(params, state, batch, rng):
        del rng
        pairs = _heard(batch, ("audio", "shifted"))
        out, stats = forward(model, params, state["stats"], pairs, train=True, chunks=chunks)
        aligned, shifted = out["logit"][:, 0], out["logit"][:, 1]
        metrics = judged(aligned, shifted)
        total = (metrics["loss/aligned"] + metrics["loss/shifted"]) / 2
        return total, ({"stats": stats}, metrics)

    def embed(params, state, batch):
        out = forward(model, params, state["stats"], _heard(batch, ("audio",)), train=False)[0]
        features = out["features"][:, 0]
        fused = {"features": features, "embedding": l2_normalize(features)}
        return {"fused": fused, "match": out["logit"][:, 0]}

    return Method(init, loss, embed)


def judged(aligned, shifted) -> dict:
    """Cross-entropies, and the share of right answers, of logits [B] of being in step.

    score/above is the share of clips whose shifted sound seems to fit better than their own.
    """
    right = (aligned > 0).mean() + (shifted <= 0).mean()
    return {
        "loss/aligned": jax.nn.softplus(-aligned).mean(),
        "loss/shifted": jax.nn.softplus(shifted).mean(),
        "accuracy": right / 2,
        "score/positive": aligned.mean(),
        "score/negative": shifted.mean(),
        "score/above": (shifted > aligned).mean(),
    }


def _heard(batch, sounds) -> dict:
    """The pictures of each clip, and some of its sounds side by side."""
    if missing := {"video", *sounds} - batch.keys():
        raise ValueError(
            f"Multisensory judges picture and sound together, and there is no {sorted(missing)}: "
            "give videos with sound, and as data.train.view avjax.data.clip_sampling.shifted"
        )
    heard = jnp.stack([batch[name] for name in sounds], 1)
    return {"video": batch["video"], "sounds": heard, "index": batch["index"]}
