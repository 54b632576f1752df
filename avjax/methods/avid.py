"""AVID: audio-visual instance discrimination.

Morgado, Vasconcelos and Misra, CVPR 2021, https://arxiv.org/abs/2004.12943.  Each clip
finds its own sound among those of other clips, and each sound its clip.
"""

import jax

from avjax.config import ranges
from avjax.losses import pairs
from avjax.losses.contrastive import Scale, resolve, tally
from avjax.nets.forward import forward
from avjax.types import Contrast, Inherited, Method, Negatives


def make(
    model,
    negatives: Negatives,
    contrast: Contrast,
    terms: dict[str, float],
    scale: Scale,
    chunks: int = 1,
    clips: int = 1,
) -> Method:
    """Cross-AVID has terms v2a and a2v, Self-AVID v2v and a2a, Joint-AVID all four.

    contrast: `avjax.losses.contrastive.nce` takes K from `negatives` and the temperature from
      `scale`.
    terms: the weight of each; they are divided by their sum.  v2v and a2a compare a clip with
      its record's past, which `avjax.losses.negatives.bank` keeps, or else with the record's next
      clip. With v2v alone, clips without sound are learned from too.
    clips: of a record, which are consecutive rows of a batch: the `count` of the data's view.
    """
    terms = pairs.weighted(terms)
    ranges.whole("clips", clips)
    ranges.whole("chunks", chunks)
    needed = {m for t in terms for m in pairs.TERMS[t]}
    cross = [t for t in ("v2a", "a2v") if t in terms]

    def init(rng, batch, size):
        rng_model, *rngs = jax.random.split(rng, 3)
        out, stats = model.init_with_output(rng_model, batch, train=False)
        params, z = stats.pop("params"), pairs.embeddings(out, needed)
        memory = {
            m: negatives.init(r, size, z[m].shape[1])
            for m, r in zip(("video", "audio"), rngs)
            if m in out
        }
        for t in terms:
            query, key = pairs.TERMS[t]
            if query == key and clips == 1 and "rows" not in memory[key]:
                raise ValueError(
                    f"term {t} would compare a clip with itself: these negatives do not remember "
                    "each record; use avjax.losses.negatives.bank, or two clips of a record "
                    "(count=2 in the view of config.data.train and config.method.clips=2), or the "
                    "terms v2a and a2v"
                )
        learned = scale.init()
        params = params | ({"scale": learned} if learned else {})
        return params, {"stats": stats, "memory": memory}

    def losses(z, memory, index, rng, contrast, temperature, terms):
        """{term: loss [B]}.  One key for all: the paper scores the same rows in each."""
        each = {}
        if negatives.pair and len(cross) == 2:
            pair = negatives.pair(z["video"] / temperature, z["audio"], index, rng, contrast)
            each = dict(zip(cross, pair))
        for t in [t for t in terms if t not in each]:
            query, key = pairs.TERMS[t]
            keys = pairs.following(z[key], index, clips) if query == key else z[key]
            each[t] = negatives.reduce(
                memory[key], z[query] / temperature, keys, index, rng, contrast
            )
        return each

    def loss(params, state, batch, rng):
        out, stats = forward(model, params, state["stats"], batch, train=True, chunks=chunks)
        z, index = {m: o["embedding"] for m, o in out.items()}, batch["index"]
        if negatives.pair:
            pairs.check_others(len(index), clips)
        own = resolve(
            contrast,
            draws=_number(negatives, len(index), clips),
            dim=("config.method.model", next(iter(z.values())).shape[1]),
            temperature=("config.method.scale", scale.temperature),
        )
        temperature, biased = scale.apply(params.get("scale", {}), own)
        each = losses(z, state["memory"], index, rng, biased, temperature, terms)
        metrics = {f"loss/{t}": x.mean() for t, x in each.items()}
        total = sum(w * metrics[f"loss/{t}"] for t, w in terms.items()) / sum(terms.values())
        still = jax.lax.stop_gradient(z)
        scores = losses(still, state["memory"], index, rng, tally(), 1.0, cross or terms)
        means = sum(x.mean(0) for x in scores.values()) / len(scores)
        metrics |= dict(zip(("score/positive", "score/negative", "score/above"), means))
        if "scale" in params:
            metrics["temperature"] = temperature
        memory = {m: negatives.update(s, z[m], index) for m, s in state["memory"].items()}
        return total, ({"stats": stats, "memory": memory}, metrics)

    def embed(params, state, batch):
        return forward(model, params, state["stats"], batch, train=False)[0]

    memories = {f"state/memory/{m}": Inherited(records=True) for m in ("video", "audio")}
    return Method(init, loss, embed, inherits=memories, needs_audio="audio" in needed)


def _number(negatives, size, clips):
    """(config key for messages, negatives of a query) in a batch of `size`."""
    if negatives.draws:
        return "config.method.negatives", negatives.draws
    return f"config.batch_size={size}", size - clips
