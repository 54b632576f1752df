"""MoCo across the modalities: each clip finds its sound's key, and each sound its clip's.

He et al., CVPR 2020, https://arxiv.org/abs/1911.05722; v2 https://arxiv.org/abs/2003.04297.
Keys come from towers that follow the trained ones slowly, and are kept in a queue.
"""

import jax

from avjax.config import ranges
from avjax.losses import negatives, pairs
from avjax.losses.contrastive import resolve, tally
from avjax.nets.forward import forward
from avjax.types import Contrast, Inherited, Method

# Of a run without slow towers, they begin as the trained ones.
INHERITS = {
    "state/slow/params": Inherited(copy="params"),
    "state/slow/stats": Inherited(copy="state/stats"),
}


def make(
    model,
    length: int,
    contrast: Contrast,
    terms: dict[str, float],
    temperature: float,
    momentum: float,
    clips: int = 1,
    chunks: int = 1,
    draws: int | None = None,
) -> Method:
    """A queue of `length` keys, a multiple of the batch, for each modality that keys are of.

    terms: the weight of each; they are divided by their sum.  v2v and a2a are MoCo as
      published: the key is of the record's next clip.  With v2v alone, clips without sound are
      learned from too.
    momentum: how much of themselves the slow towers keep in a step.
    clips: of a record, which are consecutive rows of a batch: the `count` of the data's view.
    draws: only so many of the queue's keys, each as likely, the same for all queries of a batch.
    """
    terms = pairs.weighted(terms, method="MoCo")
    ranges.number("temperature", temperature, above=0)
    ranges.number("momentum", momentum, least=0, most=1)
    ranges.whole("clips", clips)
    ranges.whole("chunks", chunks)
    if clips < 2 and (within := sorted({"v2v", "a2a"} & set(terms))):
        raise ValueError(
            f"terms {within} would compare a clip with itself: use two clips of a record (count=2 "
            "in the view of config.data.train and config.method.clips=2), or the terms v2a and a2v"
        )
    queue = negatives.queue(length, draws)
    queued = sorted({pairs.TERMS[t][1] for t in terms})
    needed = {m for t in terms for m in pairs.TERMS[t]}

    def init(rng, batch, size):
        rng_model, *rngs = jax.random.split(rng, 3)
        out, stats = model.init_with_output(rng_model, batch, train=False)
        params, z = stats.pop("params"), pairs.embeddings(out, needed)
        memory = {m: queue.init(r, size, z[m].shape[1]) for m, r in zip(queued, rngs)}
        slow = {"params": params, "stats": stats}
        return params, {"stats": stats, "slow": slow, "memory": memory}

    def encode(params, stats, batch):
        out, stats = forward(model, params, stats, batch, train=True, chunks=chunks)
        return {m: o["embedding"] for m, o in out.items()}, stats

    def loss(params, state, batch, rng):
        index, memory = batch["index"], state["memory"]
        if length % len(index):
            raise ValueError(
                f"queue of {length} is no multiple of the batch of {len(index)}: make it "
                f"{max(1, length // len(index)) * len(index)}"
            )
        # Paper: shuffles the batch between GPUs, lest the statistics of a share tell a query its
        # key.  Here there are no shares: statistics are those of the global batch, the slow
        # towers have their own, and the key of a cross-modal term is of another net altogether.
        followed = jax.lax.stop_gradient(follow(state["slow"]["params"], params, momentum))
        query, stats = encode(params, state["stats"], batch)
        key, slow_stats = jax.lax.stop_gradient(encode(followed, state["slow"]["stats"], batch))

        def losses(query, contrast):
            for t in terms:
                q, k = pairs.TERMS[t]
                # Paper: one view asks and the other is the key; here each is both.
                own = pairs.following(key[k], index, clips) if q == k else key[k]
                yield t, queue.reduce(memory[k], query[q], own, index, rng, contrast)

        own = resolve(
            contrast,
            draws=(f"config.method.{'draws' if draws else 'length'}={queue.draws}", queue.draws),
            dim=("config.method.model", next(iter(query.values())).shape[1]),
            temperature=("config.method", temperature),
        )
        hot = {m: z / temperature for m, z in query.items()}
        metrics = {f"loss/{t}": x.mean() for t, x in losses(hot, own)}
        total = sum(w * metrics[f"loss/{t}"] for t, w in terms.items()) / sum(terms.values())
        scores = dict(losses(jax.lax.stop_gradient(query), tally()))
        means = sum(x.mean(0) for x in scores.values()) / len(scores)
        metrics |= dict(zip(("score/positive", "score/negative", "score/above"), means))
        memory = {m: queue.update(s, key[m], index) for m, s in memory.items()}
        slow = {"params": followed, "stats": slow_stats}
        return total, ({"stats": stats, "slow": slow, "memory": memory}, metrics)

    def embed(params, state, batch):
        return forward(model, params, state["stats"], batch, train=False)[0]

    return Method(init, loss, embed, inherits=INHERITS, needs_audio="audio" in needed)


def follow(slow, fast, momentum: float):
    """The parameters `slow`, moved towards `fast`."""
    return jax.tree.map(lambda s, f: momentum * s + (1 - momentum) * f, slow, fast)
