"""L3: look, listen and learn.  A small net tells whether a picture and a sound belong together.

Arandjelovic and Zisserman, ICCV 2017, https://arxiv.org/abs/1705.08168; L3*, the baseline with
the encoders of AVID (Morgado et al., CVPR 2021, https://arxiv.org/abs/2004.12943), is the same
with other parts: a classifier of one output and the pairs of `twice`.
"""

import jax
import jax.numpy as jnp

from avjax.losses import pairs as pairing
from avjax.nets.forward import forward
from avjax.types import Method


def make(model, classifier, pairs, chunks: int = 1) -> Method:
    """Correspondence of the features of two towers, trained together with the classifier.

    classifier: a module, features of both side by side [M, 2 H] -> [M, 1], the log-odds that they
    belong together, or [M, 2], the logits of "do not" and "do".
    pairs: (rng, index [B]) -> (picture [M], sound [M]), the rows of the batch that are judged
    together: `once` or `twice`.

    Beside the modalities, `embed` gives "match" [B], the log-odds of each clip and its own sound.
    """

    def init(rng, batch, size):
        rngs = jax.random.split(rng)
        out, stats = model.init_with_output(rngs[0], batch, train=False)
        learned = classifier.init(rngs[1], beside(*features(out)), train=False)["params"]
        return stats.pop("params") | {"classifier": learned}, {"stats": stats}

    def odds(params, video, audio):
        weights = {"params": params["classifier"]}
        return log_odds(classifier.apply(weights, beside(video, audio), train=False))

    def loss(params, state, batch, rng):
        out, stats = forward(model, params, state["stats"], batch, train=True, chunks=chunks)
        video, audio = features(out)
        picture, sound = pairs(rng, batch["index"])
        found = odds(params, video[picture], audio[sound])
        matched = batch["index"][picture] == batch["index"][sound]
        total = jax.nn.softplus(jnp.where(matched, -found, found)).mean()
        return total, ({"stats": stats}, {"accuracy": ((found > 0) == matched).mean()})

    def embed(params, state, batch):
        out = forward(model, params, state["stats"], batch, train=False)[0]
        if {"video", "audio"} <= out.keys():
            out["match"] = odds(params, *features(out))
        return out

    return Method(init, loss, embed)


def features(out):
    return out["video"]["features"], out["audio"]["features"]


def beside(video, audio):
    return jnp.concatenate([video, audio], axis=1)


def log_odds(logits):
    """[M, 1] or [M, 2] -> [M]: the odds of a softmax over two are in their difference.

    Its cross-entropy is then the logistic loss, and one loss serves both classifiers.
    """
    return logits[:, -1] - logits[:, :-1].sum(1)


def once(rng, index):
    """L3's pairs: each picture once, half of them with their own sound, half with another's."""
    rows = jnp.arange(len(index))
    return rows, jnp.where(rows < len(index) // 2, rows, pairing.drawn(rng, index))


def twice(rng, index):
    """L3*'s pairs: each picture with its own sound, and again with another record's."""
    rows = jnp.arange(len(index))
    # Paper: drawn from a GPU's share of the batch; here from all of it.
    return jnp.tile(rows, 2), jnp.concatenate([rows, pairing.drawn(rng, index)])
