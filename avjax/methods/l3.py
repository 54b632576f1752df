"""L3: look, listen and learn.  A small net predicts whether a frame and an audio clip match.

Arandjelovic and Zisserman, ICCV 2017, https://arxiv.org/abs/1705.08168.  L3*, the baseline with the
encoders of AVID (Morgado et al., CVPR 2021, https://arxiv.org/abs/2004.12943), has other parts: a
classifier with one output and `matched_and_mismatched_pairs`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from avjax.losses import pairs as pairing
from avjax.nets.forward import forward, init_model
from avjax.types import Array, Method, Tree


def make(
    model: Any,
    classifier: Any,
    pairs: Callable[[Array, Array], tuple[Array, Array]],
    chunks: int = 1,
) -> Method:
    """L3: audio-visual correspondence of the features of two towers, trained with the classifier.

    Args:
      model: towers.
      classifier: module from concatenated features [M, 2 H] to the log-odds of a match [M, 1], or
        to the logits of "mismatch" and "match" [M, 2].
      pairs: (rng, index [B]) -> (video rows [M], audio rows [M]) of the batch: `half_matched_pairs`
        or `matched_and_mismatched_pairs`.
      chunks: parts of a batch that the encoders process in turn.

    Returns:
      A Method that logs "accuracy", and whose `embed` also gives "match" [B], the log-odds of each
      clip and its own audio.
    """

    def init(rng, batch, size):
        rngs = jax.random.split(rng)
        params, stats, out = init_model(model, rngs[0], batch)
        learned = classifier.init(rngs[1], concat(*features(out)), train=False)["params"]
        return params | {"classifier": learned}, {"stats": stats}

    def odds(params, video, audio):
        weights = {"params": params["classifier"]}
        return log_odds(classifier.apply(weights, concat(video, audio), train=False))

    def loss(params, state, batch, rng):
        out, stats = forward(model, params, state["stats"], batch, train=True, chunks=chunks)
        video, audio = features(out)
        video_rows, audio_rows = pairs(rng, batch["index"])
        found = odds(params, video[video_rows], audio[audio_rows])
        matched = batch["index"][video_rows] == batch["index"][audio_rows]
        total = jax.nn.softplus(jnp.where(matched, -found, found)).mean()
        return total, ({"stats": stats}, {"accuracy": ((found > 0) == matched).mean()})

    def embed(params, state, batch):
        out = forward(model, params, state["stats"], batch, train=False)[0]
        if {"video", "audio"} <= out.keys():
            out["match"] = odds(params, *features(out))
        return out

    return Method(init, loss, embed)


def features(out: Tree) -> tuple[Array, Array]:
    """(video [B, H], audio [B, H]) features of towers' outputs."""
    return out["video"]["features"], out["audio"]["features"]


def concat(video: Array, audio: Array) -> Array:
    """Features side by side: [B, H] and [B, H] -> [B, 2 H]."""
    return jnp.concatenate([video, audio], axis=1)


def log_odds(logits: Array) -> Array:
    """Log-odds [M] of logits [M, 1] or [M, 2].

    The log-odds of a softmax over two are the difference of the logits, and its cross-entropy is
    the logistic loss, so one loss serves both classifiers.
    """
    return logits[:, -1] - logits[:, :-1].sum(1)


def half_matched_pairs(rng: Array, index: Array) -> tuple[Array, Array]:
    """L3's pairs: each frame once, half with their own audio, half with that of another record.

    Args:
      rng: a key.
      index: int [B], record of each row.

    Returns:
      (video rows [B], audio rows [B]).
    """
    rows = jnp.arange(len(index))
    return rows, jnp.where(rows < len(index) // 2, rows, pairing.random_other_record(rng, index))


def matched_and_mismatched_pairs(rng: Array, index: Array) -> tuple[Array, Array]:
    """L3*'s pairs: each frame with its own audio, and again with that of another record.

    Args:
      rng: a key.
      index: int [B], record of each row.

    Returns:
      (video rows [2 B], audio rows [2 B]).
    """
    rows = jnp.arange(len(index))
    # Paper: sampled from a GPU's share of the batch; here from all of it.
    return jnp.tile(rows, 2), jnp.concatenate([rows, pairing.random_other_record(rng, index)])
