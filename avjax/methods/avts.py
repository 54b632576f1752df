"""AVTS: audio-visual temporal synchronization.

Korbar, Tran and Torresani, NeurIPS 2018, https://arxiv.org/abs/1807.00230.  A clip and its sound
of the same moment are drawn together; sound of another video (easy), of another time of the
same video (hard) or of nearly the same time (super-hard) is pushed away, as a curriculum says.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from avjax.config import ranges
from avjax.losses import pairs as pairing
from avjax.losses.contrastive import tally
from avjax.losses.negatives import in_batch
from avjax.nets.forward import forward
from avjax.ops.normalize import l2_normalize
from avjax.types import Method

# What a pair of the batch is, and where its sound comes from.
KINDS = {"matched": "audio", "easy": "audio", "hard": "shifted", "super": "overlapping"}
MATCHED, EASY = 0, 1


class Pairs(NamedTuple):
    """Which pictures and sounds of a batch are compared.

    audio:   what the audio encoder gets, [R, N] for a batch of B.
    picture: rows of the batch [M], sound: rows of `audio` [M].
    kind:    int [M], the place in KINDS of each pair.
    """

    audio: jax.Array
    picture: jax.Array
    sound: jax.Array
    kind: jax.Array


def make(
    model,
    margin: float,
    curriculum,
    power: int = 2,
    chunks: int = 1,
    pairs: Callable | None = None,
) -> Method:
    """Clips and their own sound against clips and a sound that is not theirs.

    Args:
        model: towers; embeddings are of length 1 or not as its `finish` says: towers.unit or raw.
        margin, power: as in `loss_of`.
        curriculum: ((first step, (easy, hard, super-hard)), ...), the shares of the negatives
            from that step on; hard ones need `shifted` in the batch, super-hard ones
            `overlapping`, which avjax.data.clip_sampling.shifted cuts.  The step is counted in the
            state.
        chunks: parts of a batch that the encoders run on in turn.
        pairs: `once`, which is what None is, or `twice`.
    """
    pairs = pairs or once
    firsts, shares = checked(curriculum)
    ranges.number("margin", margin, above=0)
    ranges.whole("chunks", chunks)
    if power not in (1, 2):
        raise ValueError(f"power={power} of the distance of matched pairs: use 2 or 1")
    negatives = [kind for kind, used in zip((*KINDS,)[1:], shares.any(0)) if used]

    def init(rng, batch, size):
        demand(batch, negatives)
        out, stats = model.init_with_output(rng, batch, train=False)
        pairing.embeddings(out, ("video", "audio"))
        params = stats.pop("params")
        return params, {"stats": stats, "step": jnp.zeros((), jnp.int32)}

    def loss(params, state, batch, rng):
        demand(batch, negatives)
        stage = jnp.searchsorted(jnp.array(firsts), state["step"], side="right") - 1
        found = pairs(rng, batch, shares, stage)
        if chunks > 1 and len(found.audio) != len(batch["index"]):
            raise ValueError(
                f"chunks={chunks} with pairs of {len(found.audio)} sounds for {len(batch['index'])}"
                " clips: use chunks=1, or easy negatives only, or avjax.methods.avts.once"
            )
        batch = {**batch, "audio": found.audio}
        out, stats = forward(model, params, state["stats"], batch, train=True, chunks=chunks)
        video, sound = (out[m]["embedding"] for m in ("video", "audio"))
        d = distance(video[found.picture], sound[found.sound])
        matched = found.kind == MATCHED
        metrics = {
            "distance/positive": mean_of(d, matched),
            "distance/negative": mean_of(d, ~matched),
            "accuracy": jnp.mean((d < margin / 2) == matched),
        }
        for name in negatives:
            of_kind = found.kind == (*KINDS,).index(name)
            metrics[f"negatives/{name}"] = mean_of(of_kind, ~matched)
        metrics |= scores(video, sound, batch["index"], found, rng)
        total = loss_of(d, matched, margin, power).mean()
        return total, ({"stats": stats, "step": state["step"] + 1}, metrics)

    def embed(params, state, batch):
        return forward(model, params, state["stats"], batch, train=False)[0]

    return Method(init, loss, embed)


def once(rng, batch, shares, stage) -> Pairs:
    """Half of the clips keep their own sound, the others get one that is not theirs.

    Args:
        rng: a key.
        batch: B rows of `audio`, of `index`, and of the sounds that the curriculum needs.
        shares: [S, 3] of the negatives in each stage of the curriculum.
        stage: the one at hand, a scalar.
    Returns:
        B pairs and B sounds.
    """
    rng_kind, rng_other = jax.random.split(rng)
    size = len(batch["index"])
    starts = jnp.array(places(shares, size, size // 2))[stage]
    kind, rows = kinds(jax.random.permutation(rng_kind, size), starts), jnp.arange(size)
    sound = jnp.where(kind == EASY, pairing.drawn(rng_other, batch["index"]), rows)
    return Pairs(heard(batch, kind), rows, sound, kind)


def twice(rng, batch, shares, stage) -> Pairs:
    """Each clip with its own sound, and again with one that is not.

    Args and Returns are those of `once`, but 2 B pairs and B + H sounds, where H is the number of
    hard and super-hard negatives in the stage that has the most; in others the sounds of these H
    clips are encoded twice.
    """
    # Paper: whether a clip is in both roles within a batch is not said.
    rng_kind, rng_other = jax.random.split(rng)
    size = len(batch["index"])
    starts = places(shares, size, size)
    place, rows = jax.random.permutation(rng_kind, size), jnp.arange(size)
    kind, first = kinds(place, jnp.array(starts)[stage]), starts[:, 1].min()
    more = {name: batch[name][jnp.argsort(place)[first:]] for name in {*KINDS.values()} & {*batch}}
    more = heard(more, jnp.sort(kind)[first:])
    other = jnp.where(kind == EASY, pairing.drawn(rng_other, batch["index"]), size + place - first)
    return Pairs(
        jnp.concatenate([batch["audio"], more]),
        jnp.tile(rows, 2),
        jnp.concatenate([rows, other]),
        jnp.concatenate([jnp.zeros_like(kind), kind]),
    )


def scores(video, sound, index, found: Pairs, rng) -> dict:
    """Cosines of the pairs of the batch, with their own sounds, of the clips that have them."""
    video, sound = (jax.lax.stop_gradient(l2_normalize(z)) for z in (video, sound[: len(video)]))
    own = (found.kind == MATCHED)[: len(index)]
    tallied = in_batch().reduce((), video, sound, index, rng, tally())
    names = ("score/positive", "score/negative", "score/above")
    return dict(zip(names, (mean_of(score, own) for score in tallied.T)))


def loss_of(distance, matched, margin, power):
    """[B]: distance^power of matched pairs, max(margin - distance, 0)^2 of the others."""
    # Paper: some print it with power 1; 2 is the contrastive loss of Hadsell et al., CVPR 2006.
    return jnp.where(matched, distance**power, jnp.maximum(margin - distance, 0.0) ** 2)


def distance(x, y):
    """Euclidean distances [B] of [B, D] and [B, D], with a gradient at 0."""
    return jnp.sqrt(jnp.sum((x - y) ** 2, axis=-1) + 1e-12)


def checked(curriculum):
    """(first steps [S], shares [S, 3]) of a curriculum that makes sense."""
    firsts = np.array([first for first, _ in curriculum])
    shares = np.array([shares for _, shares in curriculum], float)
    if not len(firsts) or firsts[0] != 0 or (np.diff(firsts) <= 0).any():
        raise ValueError(f"curriculum of steps {firsts.tolist()}: use 0, then rising ones")
    if shares.shape[1:] != (3,) or (shares < 0).any() or not np.allclose(shares.sum(1), 1):
        raise ValueError(
            f"curriculum={curriculum}: use (first step, (easy, hard, super-hard)), shares of 0 or "
            "more that are 1 in all"
        )
    return firsts, shares


def demand(batch, negatives):
    for kind in negatives:
        if KINDS[kind] not in batch:
            raise ValueError(
                f"the curriculum has {kind} negatives and the batch no {KINDS[kind]!r}: cut clips "
                "with avjax.data.clip_sampling.shifted, or leave these negatives out"
            )


def places(shares, size, count):
    """int [S, 3]: the places of a batch from which on its pairs are easy, hard, super-hard.

    `count` of the batch are negative; each share ends at the nearest whole pair of what has been
    dealt out so far, so the numbers are exact wherever they are whole.
    """
    ends = np.floor(np.cumsum(shares, axis=1) * count + 0.5).astype(int)
    return size - count + np.concatenate([np.zeros((len(shares), 1), int), ends[:, :2]], axis=1)


def kinds(place, starts):
    """The kind [B] of each clip by its place [B], as many of each as `starts` [3] says."""
    return (place[:, None] >= starts[None]).sum(1)


def heard(batch, kind):
    """The sound of each pair [B, N]: the clip's own, also of easy ones, or that of its kind."""
    sound = batch["audio"]
    kind = kind.reshape(-1, *[1] * (sound.ndim - 1))
    for number, name in enumerate(KINDS.values()):
        if name in batch:
            sound = jnp.where(kind == number, batch[name], sound)
    return sound


def mean_of(x, mask):
    """The mean of x [B] where mask [B]."""
    return jnp.sum(x * mask) / jnp.sum(mask)
