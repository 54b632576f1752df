"""AVTS: audio-visual temporal synchronization.

Korbar, Tran and Torresani, NeurIPS 2018, https://arxiv.org/abs/1807.00230.  A clip and its audio of
the same moment are pulled together; audio of another video (easy), of another time of the same
video (hard) or of nearly the same time (super-hard) is pushed away, by a curriculum.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from avjax.config import ranges
from avjax.losses import pairs as pairing
from avjax.losses.curriculum import Curriculum, parse_curriculum
from avjax.losses.margin import distance, margin_loss
from avjax.losses.negatives import in_batch
from avjax.losses.score_metrics import SCORES, score_statistics
from avjax.nets.forward import forward, init_model, make_embed
from avjax.ops.normalize import l2_normalize
from avjax.types import Array, Batch, Method, Metrics

# Kind of a pair -> batch key of its audio.
KINDS = {"matched": "audio", "easy": "audio", "hard": "shifted", "super_hard": "overlapping"}
MATCHED, EASY = 0, 1


class Pairs(NamedTuple):
    """The pairs of frames and audio of a batch that are compared.

    Attributes:
      audio: input of the audio encoder, [R, N] for a batch of B.
      video_rows: rows of the batch, int [M].
      audio_rows: rows of `audio`, int [M].
      kind: int [M], index in KINDS of each pair.
    """

    audio: Array
    video_rows: Array
    audio_rows: Array
    kind: Array


def make(
    model: Any,
    margin: float,
    curriculum: Curriculum,
    power: int = 2,
    chunks: int = 1,
    pairs: Callable | None = None,
) -> Method:
    """AVTS: a margin loss on matched and mismatched pairs of frames and audio.

    Args:
      model: towers; their `normalize` decides whether embeddings have unit length.
      margin, power: as in `margin_loss`.
      curriculum: ((first step, (easy, hard, super-hard)), ...): shares of the negatives from that
        step on.  Hard ones need `shifted` in the batch, super-hard ones `overlapping`, which
        avjax.data.clip_sampling.with_shifted_audio cuts.  The step is counted in the state.
      chunks: parts of a batch that the encoders process in turn.
      pairs: `half_matched_pairs`, the default, or `matched_and_mismatched_pairs`.

    Returns:
      A Method that logs "distance/...", "accuracy", "negatives/<kind>" (their shares) and
      "score/...".

    Raises:
      ValueError: an argument is out of its range; from `init` and `loss`, the batch lacks the
        audio of a kind of negative.
    """
    pairs = pairs or half_matched_pairs
    first_steps, shares = parse_curriculum(curriculum)
    ranges.check_number("margin", margin, above=0)
    ranges.check_integer("chunks", chunks)
    if power not in (1, 2):
        raise ValueError(f"power={power}: use 2 or 1")
    negatives = [kind for kind, share in zip((*KINDS,)[1:], shares.T) if share.any()]

    def init(rng, batch, size):
        require_keys(batch, negatives)
        params, stats, out = init_model(model, rng, batch)
        pairing.embeddings(out, ("video", "audio"))
        return params, {"stats": stats, "step": jnp.zeros((), jnp.int32)}

    def loss(params, state, batch, rng):
        require_keys(batch, negatives)
        stage = jnp.searchsorted(jnp.array(first_steps), state["step"], side="right") - 1
        batch_pairs = pairs(rng, batch, shares, stage)
        if chunks > 1 and len(batch_pairs.audio) != len(batch["index"]):
            raise ValueError(
                f"chunks={chunks} with {len(batch_pairs.audio)} audio rows for "
                f"{len(batch['index'])} clips: use chunks=1, or easy negatives only, or "
                "avjax.methods.avts.half_matched_pairs"
            )
        batch = {**batch, "audio": batch_pairs.audio}
        out, stats = forward(model, params, state["stats"], batch, train=True, chunks=chunks)
        video, audio = (out[m]["embedding"] for m in ("video", "audio"))
        d = distance(video[batch_pairs.video_rows], audio[batch_pairs.audio_rows])
        matched = batch_pairs.kind == MATCHED
        metrics = {
            "distance/positive": masked_mean(d, matched),
            "distance/negative": masked_mean(d, ~matched),
            "accuracy": jnp.mean((d < margin / 2) == matched),
        }
        for name in negatives:
            of_kind = batch_pairs.kind == (*KINDS,).index(name)
            metrics[f"negatives/{name}"] = masked_mean(of_kind, ~matched)
        metrics |= scores(video, audio, batch["index"], batch_pairs, rng)
        total = margin_loss(d, matched, margin, power).mean()
        return total, ({"stats": stats, "step": state["step"] + 1}, metrics)

    return Method(init, loss, make_embed(model))


def half_matched_pairs(rng: Array, batch: Batch, shares: np.ndarray, stage: Array) -> Pairs:
    """Half of the clips keep their own audio, the others get one that is not theirs.

    Args:
      rng: a key.
      batch: B rows of `audio`, of `index`, and of the audio that the curriculum needs.
      shares: float [S, 3] of the negatives in each stage of the curriculum.
      stage: the current stage, a scalar.

    Returns:
      Pairs with B pairs and B audio rows.
    """
    rng_kind, rng_other = jax.random.split(rng)
    size = len(batch["index"])
    starts = jnp.array(kind_offsets(shares, size, size // 2))[stage]
    kind, rows = assign_kinds(jax.random.permutation(rng_kind, size), starts), jnp.arange(size)
    audio_rows = jnp.where(
        kind == EASY, pairing.random_other_record(rng_other, batch["index"]), rows
    )
    return Pairs(select_audio(batch, kind), rows, audio_rows, kind)


def matched_and_mismatched_pairs(
    rng: Array, batch: Batch, shares: np.ndarray, stage: Array
) -> Pairs:
    """Each clip with its own audio, and again with one that is not its own.

    Args and Returns as in `half_matched_pairs`, but 2 B pairs and B + H audio rows, where H is the
    number of hard and super-hard negatives in the stage that has the most; in other stages the
    audio of these H clips is encoded twice.
    """
    # Paper: does not say whether a clip has both roles within a batch.
    rng_kind, rng_other = jax.random.split(rng)
    size = len(batch["index"])
    starts = kind_offsets(shares, size, size)
    place, rows = jax.random.permutation(rng_kind, size), jnp.arange(size)
    kind, first = assign_kinds(place, jnp.array(starts)[stage]), starts[:, 1].min()
    more = {name: batch[name][jnp.argsort(place)[first:]] for name in {*KINDS.values()} & {*batch}}
    more = select_audio(more, jnp.sort(kind)[first:])
    other = jnp.where(
        kind == EASY, pairing.random_other_record(rng_other, batch["index"]), size + place - first
    )
    return Pairs(
        jnp.concatenate([batch["audio"], more]),
        jnp.tile(rows, 2),
        jnp.concatenate([rows, other]),
        jnp.concatenate([jnp.zeros_like(kind), kind]),
    )


def scores(video: Array, audio: Array, index: Array, batch_pairs: Pairs, rng: Array) -> Metrics:
    """Cosine statistics of the matched pairs of a batch.

    Args:
      video: float [B, D], embeddings of any length.
      audio: float [R, D]; the first B rows are of the clips' own pairs.
      index: int [B], record of each clip.
      batch_pairs: the pairs.
      rng: a key.

    Returns:
      {name: scalar} for each of SCORES.
    """
    video, audio = (jax.lax.stop_gradient(l2_normalize(z)) for z in (video, audio[: len(video)]))
    own = (batch_pairs.kind == MATCHED)[: len(index)]
    tallied = in_batch().loss((), video, audio, index, rng, score_statistics())
    return dict(zip(SCORES, (masked_mean(score, own) for score in tallied.T)))


def require_keys(batch: Batch, negatives: Sequence[str]) -> None:
    """Raises ValueError if the batch lacks the audio of a kind of negative."""
    for kind in negatives:
        if KINDS[kind] not in batch:
            raise ValueError(
                f"the curriculum has {kind} negatives but the batch has no {KINDS[kind]!r}: use "
                "avjax.data.clip_sampling.with_shifted_audio, or remove these negatives"
            )


def kind_offsets(shares: np.ndarray, size: int, count: int) -> np.ndarray:
    """Positions of a batch from which pairs are easy, hard and super-hard.

    Each share is rounded cumulatively to whole pairs, so the numbers are exact where they are
    whole.

    Args:
      shares: float [S, 3] of the negatives in each stage.
      size: pairs of the batch.
      count: how many of them are negative, the last ones.

    Returns:
      int [S, 3].
    """
    ends = np.floor(np.cumsum(shares, axis=1) * count + 0.5).astype(int)
    return size - count + np.concatenate([np.zeros((len(shares), 1), int), ends[:, :2]], axis=1)


def assign_kinds(place: Array, starts: Array) -> Array:
    """The kind int [B] of each clip by its position [B], where the kinds start at `starts` [3]."""
    return (place[:, None] >= starts[None]).sum(1)


def select_audio(batch: Batch, kind: Array) -> Array:
    """The audio of each pair, int16 [B, N]: the clip's own (easy pairs too), or that of its kind.

    Args:
      batch: the audio [B, N] of each kind that occurs.
      kind: int [B], index in KINDS.
    """
    audio = batch["audio"]
    kind = kind.reshape(-1, *[1] * (audio.ndim - 1))
    for number, name in enumerate(KINDS.values()):
        if name in batch:
            audio = jnp.where(kind == number, batch[name], audio)
    return audio


def masked_mean(x: Array, mask: Array) -> Array:
    """The mean, a scalar, of x [B] where mask [B]; NaN where it is False everywhere."""
    return jnp.sum(x * mask) / jnp.sum(mask)
