"""AVID-CMA: audio-visual instance discrimination with cross-modal agreement.

Morgado, Vasconcelos and Misra, CVPR 2021, https://arxiv.org/abs/2004.12943.  Records similar in
both modalities are positives of each other.  Training starts from the nets and memories of an AVID
run.
"""

from typing import Any

import jax
import jax.numpy as jnp

from avjax.config import ranges
from avjax.losses import memory_bank, pairs, sampling
from avjax.losses.contrastive import logistic, multi_positive, nce_bias
from avjax.losses.score_metrics import mean_scores, score_statistics
from avjax.nets.forward import forward, init_model, make_embed
from avjax.ops import nearest_neighbors
from avjax.types import Inherited, Method

CROSS = (("video", "audio"), ("audio", "video"))
# Name -> (positives, query, key).  "inst": the record itself; "pos": the most similar records.
TERMS = {
    f"{kind}-{query[0]}2{key[0]}": (kind, query, key)
    for kind in ("inst", "pos")
    for query, key in (*CROSS, ("video", "video"), ("audio", "audio"))
}

# The refresh before the first step computes the positive sets from these.
MEMORY = Inherited(
    records=True,
    required="CMA computes its positive sets from both memories: use a run of AVID with "
    "avjax.losses.memory_bank, or of CMA, on the same data, as the chain of "
    "configs/cma_kinetics.py does; or name all parts to restore: "
    "config.init_from=dict(folder=RUN, paths=(...))",
)


def make(
    model: Any,
    positive_criterion: str,
    num_positives: int,
    terms: dict[str, float],
    num_negatives: int,
    within_modal_negatives: int,
    temperature: float,
    momentum: float = 0.5,
    chunks: int = 1,
) -> Method:
    """CMA; the paper has "consensus", 32 positives, and the terms below, each of weight 1.

    Args:
      model: towers.
      positive_criterion: one of `avjax.ops.nearest_neighbors.CRITERIA`, applied to the memories at
        a refresh.
      num_positives: most similar records per record; all are positives in the "pos" terms.
      terms: weight of each term; they are divided by their sum.  inst-v2a and inst-a2v discriminate
        records as AVID does, pos-v2v and pos-a2a pull similar records together.
      num_negatives: negatives per query.
      within_modal_negatives: negatives per query if query and key have the same modality.
      temperature: divisor of the scores.
      momentum: as in `avjax.losses.memory_bank`.
      chunks: parts of a batch that the encoders process in turn.

    Returns:
      A Method whose `refresh` computes the positive sets, and that logs "loss/<term>" and
      "score/...".

    Raises:
      ValueError: an argument is out of its range; from `init`, num_positives exceeds the records.
    """
    if positive_criterion not in nearest_neighbors.CRITERIA:
        known = sorted(nearest_neighbors.CRITERIA)
        raise ValueError(f"positive_criterion={positive_criterion!r}: use one of {known}")
    terms = pairs.nonzero_terms(terms, TERMS, "CMA")
    ranges.check_number("temperature", temperature, above=0)
    ranges.check_integer("chunks", chunks)
    if not 0 < within_modal_negatives <= num_negatives:
        raise ValueError(
            f"within_modal_negatives={within_modal_negatives}: use 1 to {num_negatives}"
        )
    bank = memory_bank.make(num_negatives, momentum)

    def init(rng, batch, size):
        if not 0 < num_positives < size - 1:
            raise ValueError(
                f"num_positives={num_positives} of {size} records: use 1 to {size - 2}"
            )
        rng_model, *rngs = jax.random.split(rng, 3)
        params, stats, out = init_model(model, rng_model, batch)
        dim = pairs.embeddings(out, ("video", "audio"))["video"].shape[1]
        memory = {m: bank.init(r, size, dim) for m, r in zip(("video", "audio"), rngs)}
        # Placeholder until the first refresh.
        sets = jnp.tile(
            jnp.arange(num_positives, dtype=jnp.int32), (len(memory["video"]["rows"]), 1)
        )
        # Paper: Z is what AVID measured on its first batch, "state/z" of a ported run.
        spread = jnp.float32(jnp.exp(-nce_bias(1, dim, temperature)))
        return params, {"stats": stats, "memory": memory, "positive_rows": sets, "z": spread}

    def loss(params, state, batch, rng):
        out, stats = forward(model, params, state["stats"], batch, train=True, chunks=chunks)
        z, index = pairs.embeddings(out), batch["index"]
        memory = {m: s["rows"] for m, s in state["memory"].items()}
        sets = {"inst": index[:, None], "pos": state["positive_rows"][index]}
        # The same rows for all terms, without positives; may include the record, as in the paper.
        rows = sampling.sample_excluding(
            rng, sets["pos"], state["memory"]["video"]["size"], num_negatives
        )
        losses = {}
        for t in terms:
            kind, query, key = TERMS[t]
            sampled = rows[:, :within_modal_negatives] if query == key else rows
            nce = multi_positive(logistic(-jnp.log(sampled.shape[1] * state["z"])))
            losses[t] = memory_bank.loss_against_memory(
                memory[key], z[query] / temperature, sets[kind], sampled, nce
            )
        total, metrics = pairs.combine_terms(losses, terms)
        still = jax.lax.stop_gradient(z)
        metrics |= mean_scores(
            memory_bank.loss_against_memory(memory[k], still[q], index, rows, score_statistics())
            for q, k in CROSS
        )
        moved = {m: bank.update(s, z[m], index) for m, s in state["memory"].items()}
        return total, (state | {"stats": stats, "memory": moved}, metrics)

    def refresh(params, state, rng, extracted):
        rows = {m: s["rows"] for m, s in state["memory"].items()}
        sets = nearest_neighbors.top_k_rows(
            rows, state["memory"]["video"]["size"], num_positives, positive_criterion
        )
        return params, state | {"positive_rows": sets}

    memories = {f"state/memory/{m}": MEMORY for m in ("video", "audio")}
    return Method(init, loss, make_embed(model), refresh, inherits=memories)
