"""AVID-CMA: audio-visual instance discrimination with cross-modal agreement.

Morgado, Vasconcelos and Misra, CVPR 2021, https://arxiv.org/abs/2004.12943.  Records that are
alike to both eye and ear count as positives of each other.  A run begins with the nets and the
memories of a run of AVID.
"""

import jax
import jax.numpy as jnp

from avjax.config import ranges
from avjax.losses import negatives, pairs
from avjax.losses.contrastive import logistic, multi_positive, nce_bias, tally
from avjax.nets.forward import forward
from avjax.ops import nearest_neighbors
from avjax.types import Inherited, Method

CROSS = (("video", "audio"), ("audio", "video"))
# Name -> which positives, query, key.  "inst": the record itself; "pos": those that agree with it.
TERMS = {
    f"{kind}-{query[0]}2{key[0]}": (kind, query, key)
    for kind in ("inst", "pos")
    for query, key in (*CROSS, ("video", "video"), ("audio", "audio"))
}

# The refresh before the first step makes the positive sets of these.
MEMORY = Inherited(
    records=True,
    required="CMA makes its positive sets of the rows of both memories: use a run of AVID with "
    "avjax.losses.negatives.bank, or of CMA, on the same data, as the chain of "
    "configs/cma_kinetics.py does; or name all parts to take: config.init_from=dict(folder=RUN, "
    "paths=(...))",
)


def make(
    model,
    agreement: str,
    near: int,
    terms: dict[str, float],
    draws: int,
    within: int,
    temperature: float,
    momentum: float = 0.5,
    chunks: int = 1,
) -> Method:
    """The paper's has agreement="consensus", 32 `near`, and the terms below, each of weight 1.

    agreement: one of `avjax.ops.nearest_neighbors.AGREEMENTS`, of the memories as they are at a
      refresh.
    near:  how many records agree with each, every one of them a positive of "pos".
    terms: the weight of each, which are divided by their sum: inst-v2a and inst-a2v tell
      records apart as AVID does, pos-v2v and pos-a2a bring together those that agree.
    draws: negatives of a query, only `within` of them if query and key are of one modality.
    """
    if agreement not in nearest_neighbors.AGREEMENTS:
        raise ValueError(
            f"agreement {agreement!r}: CMA knows {sorted(nearest_neighbors.AGREEMENTS)}"
        )
    terms = pairs.weighted(terms, TERMS, "CMA")
    ranges.number("temperature", temperature, above=0)
    ranges.whole("chunks", chunks)
    if not 0 < within <= draws:
        raise ValueError(f"within={within} of draws={draws}: take at least 1 and at most all")
    bank = negatives.bank(draws, momentum)

    def init(rng, batch, size):
        if not 0 < near < size - 1:
            raise ValueError(f"near={near} of {size} records: take at least 1, at most {size - 2}")
        rng_model, *rngs = jax.random.split(rng, 3)
        out, stats = model.init_with_output(rng_model, batch, train=False)
        z = pairs.embeddings(out, ("video", "audio"))
        params, dim = stats.pop("params"), z["video"].shape[1]
        memory = {m: bank.init(r, size, dim) for m, r in zip(("video", "audio"), rngs)}
        # Any sets will do until the first refresh.
        sets = jnp.tile(jnp.arange(near, dtype=jnp.int32), (len(memory["video"]["rows"]), 1))
        # Paper: Z is what AVID measured on its first batch, "state/z" of a ported run.
        spread = jnp.float32(jnp.exp(-nce_bias(1, dim, temperature)))
        return params, {"stats": stats, "memory": memory, "near": sets, "z": spread}

    def loss(params, state, batch, rng):
        out, stats = forward(model, params, state["stats"], batch, train=True, chunks=chunks)
        z, index = {m: o["embedding"] for m, o in out.items()}, batch["index"]
        memory = {m: s["rows"] for m, s in state["memory"].items()}
        sets = {"inst": index[:, None], "pos": state["near"][index]}
        # The same rows for all terms, none that agrees; a record may draw its own, as in the paper.
        rows = negatives.draw_outside(rng, sets["pos"], state["memory"]["video"]["size"], draws)
        metrics = {}
        for t in terms:
            kind, query, key = TERMS[t]
            drawn = rows[:, :within] if query == key else rows
            nce = multi_positive(logistic(-jnp.log(drawn.shape[1] * state["z"])))
            each = negatives.against(memory[key], z[query] / temperature, sets[kind], drawn, nce)
            metrics[f"loss/{t}"] = each.mean()
        total = sum(w * metrics[f"loss/{t}"] for t, w in terms.items()) / sum(terms.values())
        still = jax.lax.stop_gradient(z)
        scores = [negatives.against(memory[k], still[q], index, rows, tally()) for q, k in CROSS]
        means = sum(x.mean(0) for x in scores) / len(scores)
        metrics |= dict(zip(("score/positive", "score/negative", "score/above"), means))
        moved = {m: bank.update(s, z[m], index) for m, s in state["memory"].items()}
        return total, (state | {"stats": stats, "memory": moved}, metrics)

    def refresh(params, state, rng, survey):
        rows = {m: s["rows"] for m, s in state["memory"].items()}
        sets = nearest_neighbors.nearest(rows, state["memory"]["video"]["size"], near, agreement)
        return params, state | {"near": sets}

    def embed(params, state, batch):
        return forward(model, params, state["stats"], batch, train=False)[0]

    memories = {f"state/memory/{m}": MEMORY for m in ("video", "audio")}
    return Method(init, loss, embed, refresh, inherits=memories)
