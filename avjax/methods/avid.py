"""AVID: audio-visual instance discrimination.

Morgado, Vasconcelos and Misra, CVPR 2021, https://arxiv.org/abs/2004.12943.  Each clip is matched
to its own audio among those of other clips, and each audio to its clip.
"""

from typing import Any

import jax
import jax.numpy as jnp

from avjax.config import ranges
from avjax.losses import pairs
from avjax.losses.contrastive import resolve_bias
from avjax.losses.score_metrics import mean_scores, score_statistics
from avjax.losses.temperature import Temperature
from avjax.nets.forward import forward, init_model, make_embed
from avjax.types import ContrastiveLoss, Inherited, Method, Negatives


def make(
    model: Any,
    negatives: Negatives,
    loss_fn: ContrastiveLoss,
    terms: dict[str, float],
    temperature: Temperature,
    chunks: int = 1,
    num_clips: int = 1,
) -> Method:
    """AVID; Cross-AVID has the terms v2a and a2v, Self-AVID v2v and a2a, Joint-AVID all four.

    Args:
      model: towers, e.g. `avjax.nets.towers.Towers`.
      negatives: source of negatives, e.g. `avjax.losses.memory_bank`.
      loss_fn: contrastive loss; `avjax.losses.contrastive.nce` takes K from `negatives` and the
        temperature from `temperature`.
      terms: weight of each term; they are divided by their sum.  v2v and a2a compare a clip with
        the memory of its record, or, without a memory bank, with the record's next clip.  With v2v
        alone, clips without audio are trained on too.
      temperature: a `avjax.losses.temperature.Temperature`.
      chunks: parts of a batch that the encoders process in turn.
      num_clips: clips per record, consecutive rows of a batch; as in the data's clips.

    Returns:
      A Method that logs "loss/<term>", "score/..." and, if it is learned, "temperature".

    Raises:
      ValueError: an argument is out of its range; from `init`, a term would compare a clip with
        itself, or the model lacks an encoder.
    """
    terms = pairs.nonzero_terms(terms)
    ranges.check_integer("num_clips", num_clips)
    ranges.check_integer("chunks", chunks)
    needed = pairs.modalities_of(terms)
    cross = [t for t in ("v2a", "a2v") if t in terms]

    def init(rng, batch, size):
        rng_model, *rngs = jax.random.split(rng, 3)
        params, stats, out = init_model(model, rng_model, batch)
        z = pairs.embeddings(out, needed)
        memory = {
            m: negatives.init(r, size, z[m].shape[1])
            for m, r in zip(("video", "audio"), rngs)
            if m in out
        }
        in_batch = [t for t in terms if "rows" not in memory[pairs.DIRECTIONS[t][1]]]
        remedy = "avjax.losses.memory_bank, or "
        pairs.check_other_clip(in_batch, num_clips, remedy)
        learned = temperature.init()
        params = params | ({"temperature": learned} if learned else {})
        return params, {"stats": stats, "memory": memory}

    def losses(z, memory, index, rng, loss_fn, tau, terms):
        """{term: loss [B]}.  One key for all terms: the paper scores the same rows in each."""
        each = {}
        if negatives.symmetric_loss and len(cross) == 2:
            pair = negatives.symmetric_loss(z["video"] / tau, z["audio"], index, rng, loss_fn)
            each = dict(zip(cross, pair))
        for t in [t for t in terms if t not in each]:
            query, key = pairs.DIRECTIONS[t]
            keys = pairs.next_clip_of_record(z[key], index, num_clips) if query == key else z[key]
            each[t] = negatives.loss(memory[key], z[query] / tau, keys, index, rng, loss_fn)
        return each

    def loss(params, state, batch, rng):
        out, stats = forward(model, params, state["stats"], batch, train=True, chunks=chunks)
        z, index = pairs.embeddings(out), batch["index"]
        if negatives.symmetric_loss:
            pairs.check_other_records(len(index), num_clips)
        own = resolve_bias(
            loss_fn,
            num_negatives=_number(negatives, len(index), num_clips),
            dim=("config.method.model", next(iter(z.values())).shape[1]),
            temperature=("config.method.temperature", temperature.init_value),
        )
        tau, biased = temperature.apply(params.get("temperature", {}), own)
        each = losses(z, state["memory"], index, rng, biased, tau, terms)
        total, metrics = pairs.combine_terms(each, terms)
        still = jax.lax.stop_gradient(z)
        scores = losses(still, state["memory"], index, rng, score_statistics(), 1.0, cross or terms)
        metrics |= mean_scores(scores.values())
        if "temperature" in params:
            metrics["temperature"] = jnp.asarray(tau)
        memory = {m: negatives.update(s, z[m], index) for m, s in state["memory"].items()}
        return total, ({"stats": stats, "memory": memory}, metrics)

    memories = {f"state/memory/{m}": Inherited(records=True) for m in ("video", "audio")}
    return Method(init, loss, make_embed(model), inherits=memories, needs_audio="audio" in needed)


def _number(negatives, size, num_clips):
    """(config key for messages, negatives per query) for a batch of `size`."""
    if negatives.num_negatives:
        return "config.method.negatives", negatives.num_negatives
    return f"config.batch_size={size}", size - num_clips
