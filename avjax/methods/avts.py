"""AVTS: audio-visual temporal synchronization.

Korbar, Tran and Torresani, NeurIPS 2018, https://arxiv.org/abs/1807.00230.  A clip and its sound
of the same moment are drawn together; sound of another video (easy), of another time of the
same video (hard) or of nearly the same time (super-hard) is pushed away, as a curriculum says.
"""

import jax
import jax.numpy as jnp
import numpy as np

from avjax import partners, ranges
from avjax.contrast import tally
from avjax.negatives import in_batch
from avjax.nets.forward import forward
from avjax.normalize import l2_normalize
from avjax.types import Method

# What a pair of the batch is, and where its sound comes from.
KINDS = {"matched": "audio", "easy": "audio", "hard": "shifted", "super": "overlapping"}
MATCHED, EASY = 0, 1


def make(model, margin: float, curriculum, power: int = 2, chunks: int = 1) -> Method:
    """Half of the batch's clips keep their own sound, the others get one that is not theirs.

    curriculum: ((first step, (easy, hard, super-hard)), ...), the shares of the negatives from
    that step on; hard ones want `shifted` in the batch, super-hard ones `overlapping`, which
    avjax.data.clips.shifted cuts.  The step is counted in the state.
    margin, power: as in `loss_of`.  What length embeddings have, the model says: towers.raw, unit.
    """
    firsts, shares = checked(curriculum)
    ranges.number("margin", margin, above=0)
    ranges.whole("chunks", chunks)
    if power not in (1, 2):
        raise ValueError(f"power={power} of the distance of matched pairs: use 2 or 1")
    negatives = [kind for kind, used in zip((*KINDS,)[1:], shares.any(0)) if used]

    def init(rng, batch, size):
        demand(batch, negatives)
        out, stats = model.init_with_output(rng, batch, train=False)
        partners.embeddings(out, ("video", "audio"))
        params = stats.pop("params")
        return params, {"stats": stats, "step": jnp.zeros((), jnp.int32)}

    def loss(params, state, batch, rng):
        demand(batch, negatives)
        rng_kind, rng_other = jax.random.split(rng)
        step, index = state["step"], batch["index"]
        starts = jnp.array(places(shares, len(index)))
        stage = jnp.searchsorted(jnp.array(firsts), step, side="right") - 1
        kind = assigned(rng_kind, len(index), starts[stage])
        batch = {**batch, "audio": heard(batch, kind, negatives)}
        out, stats = forward(model, params, state["stats"], batch, train=True, chunks=chunks)
        video, sound = (out[m]["embedding"] for m in ("video", "audio"))
        theirs = sound[partners.drawn(rng_other, index)]
        d = distance(video, jnp.where((kind == EASY)[:, None], theirs, sound))
        matched = kind == MATCHED
        metrics = {
            "distance/positive": mean_of(d, matched),
            "distance/negative": mean_of(d, ~matched),
            "accuracy": jnp.mean((d < margin / 2) == matched),
        }
        for name in negatives:
            metrics[f"negatives/{name}"] = mean_of(kind == (*KINDS,).index(name), ~matched)
        still = (jax.lax.stop_gradient(l2_normalize(z)) for z in (video, sound))
        scores = in_batch().reduce((), *still, index, rng, tally())
        means = (mean_of(score, matched) for score in scores.T)
        metrics |= dict(zip(("score/positive", "score/negative", "score/above"), means))
        total = loss_of(d, matched, margin, power).mean()
        return total, ({"stats": stats, "step": step + 1}, metrics)

    def embed(params, state, batch):
        return forward(model, params, state["stats"], batch, train=False)[0]

    return Method(init, loss, embed)


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
                "with avjax.data.clips.shifted, or leave these negatives out"
            )


def places(shares, size):
    """int [S, 3]: the places of a batch from which on its pairs are easy, hard, super-hard.

    Half of the batch, rounded down, is negative; each share ends at the nearest whole pair of
    what has been dealt out so far, so the numbers are exact wherever they are whole.
    """
    count = size // 2
    ends = np.floor(np.cumsum(shares, axis=1) * count + 0.5).astype(int)
    return size - count + np.concatenate([np.zeros((len(shares), 1), int), ends[:, :2]], axis=1)


def assigned(rng, size, starts):
    """kind [B] of each pair, as many of each as `starts` [3] says, at random places."""
    place = jax.random.permutation(rng, size)
    return (place[:, None] >= starts[None]).sum(1)


def heard(batch, kind, negatives):
    """The sound of each pair [B, N]: the clip's own, also of easy ones, or that of its kind."""
    sound = batch["audio"]
    kind = kind.reshape(-1, *[1] * (sound.ndim - 1))
    for name in negatives:
        sound = jnp.where(kind == (*KINDS,).index(name), batch[KINDS[name]], sound)
    return sound


def mean_of(x, mask):
    """The mean of x [B] where mask [B]."""
    return jnp.sum(x * mask) / jnp.sum(mask)
