"""AVID: audio-visual instance discrimination.

Morgado, Vasconcelos and Misra, CVPR 2021, https://arxiv.org/abs/2004.12943.  Each clip is matched
to its own audio among those of other clips, and each audio to its clip.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from avjax.config import ranges
from avjax.losses import pairs
from avjax.losses.contrastive import resolve
from avjax.losses.score_metrics import mean_scores, with_statistics
from avjax.losses.temperature import Temperature
from avjax.nets.forward import forward, init_model, make_embed
from avjax.ops.normalize import l2_normalize
from avjax.types import Array, Batch, ContrastiveLoss, Inherited, Method, Negatives


def make(
    model: Any,
    negatives: Negatives,
    loss_fn: ContrastiveLoss,
    terms: dict[str, float],
    temperature: Temperature,
    chunks: int = 1,
    num_clips: int = 1,
    group_by: Callable[[Batch], Array] = pairs.by_record,
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
      group_by: (batch) -> int [B]; rows of a batch with equal numbers are no negatives of each
        other.  `avjax.losses.pairs.by_label` leaves out those of the same class.  For sources
        without a memory; a bank has `avjax.losses.sampling.other_classes`.

    Returns:
      A Method that logs "loss/<term>", "score/..." and, if it is learned, "temperature".

    Raises:
      ValueError: an argument is out of its range; from `init`, a term would compare a clip with
        itself, or the model lacks an encoder.
    """
    terms = pairs.nonzero_terms(terms)
    ranges.check_integer("num_clips", num_clips)
    ranges.check_integer("chunks", chunks)
    if group_by is not pairs.by_record and not negatives.symmetric_loss:
        raise ValueError(
            "group_by is for negatives of the batch: give a memory bank the sampler "
            "avjax.losses.sampling.other_classes instead"
        )
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

    def losses(z, memory, batch, rng, loss_fn, tau):
        """{term: (loss [B], statistics)}.  One key: the paper scores the same rows in all terms."""
        each, index, group = {}, batch["index"], group_by(batch)
        if negatives.symmetric_loss and len(cross) == 2:
            pair = negatives.symmetric_loss(z["video"] / tau, z["audio"], group, rng, loss_fn)
            each = dict(zip(cross, pair))
        for t in [t for t in terms if t not in each]:
            query, key = pairs.DIRECTIONS[t]
            keys = pairs.next_clip_of_record(z[key], index, num_clips) if query == key else z[key]
            each[t] = negatives.loss(memory[key], z[query] / tau, keys, group, rng, loss_fn)
        return each

    def loss(params, state, batch, rng):
        out, stats = forward(model, params, state["stats"], batch, train=True, chunks=chunks)
        z, index = pairs.embeddings(out), batch["index"]
        if negatives.symmetric_loss:
            pairs.check_other_records(len(index), num_clips)
        own = resolve(
            loss_fn,
            batch,
            num_negatives=_number(negatives, len(index), num_clips),
            dim=("config.method.model", next(iter(z.values())).shape[1]),
            temperature=("config.method.temperature", temperature.init_value),
        )
        tau, biased = temperature.apply(params.get("temperature", {}), own)
        each = losses(z, state["memory"], batch, rng, with_statistics(biased, tau), tau)
        total, metrics = pairs.combine_terms({t: x for t, (x, _) in each.items()}, terms)
        metrics |= mean_scores(each[t][1] for t in cross or terms)
        if "temperature" in params:
            metrics["temperature"] = jnp.asarray(tau)
        memory = {m: negatives.update(s, z[m], index) for m, s in state["memory"].items()}
        return total, ({"stats": stats, "memory": memory}, metrics)

    memories = {f"state/memory/{m}": Inherited(records=True) for m in ("video", "audio")}
    return Method(init, loss, make_embed(model), inherits=memories, needs_audio="audio" in needed)


def filled_bank(
    model: Any,
    negatives: Negatives,
    loss_fn: ContrastiveLoss,
    terms: dict[str, float],
    temperature: Temperature,
    chunks: int = 1,
    num_clips: int = 1,
) -> Method:
    """`make` whose memory bank starts from the embeddings of all records, not from random rows.

    Before the first step, and every config.refresh_every steps, the rows become the embeddings of
    the nets as they are: one epoch without training, on the clips of config.data.refresh.

    Args:
      model, negatives, loss_fn, terms, temperature, chunks, num_clips: as in `make`; the negatives
        are a memory bank.

    Returns:
      A Method with `refresh`.

    Raises:
      ValueError: an argument is out of its range, or the negatives are not a memory bank.
    """
    method = make(model, negatives, loss_fn, terms, temperature, chunks, num_clips)
    if negatives.symmetric_loss:
        raise ValueError("filled_bank: negatives are not a memory bank")

    def extract(params, state, batch):
        out = method.embed(params, state, batch)
        return {m: out[m]["embedding"] for m in state["memory"]}

    def refresh(params, state, rng, extracted):
        memory = {}
        for m, bank in state["memory"].items():
            rows = bank["rows"]
            n = min(len(rows), len(extracted["mask"]))
            seen = extracted["mask"][:n, None]
            rows = rows.at[:n].set(jnp.where(seen, l2_normalize(extracted[m][:n]), rows[:n]))
            memory[m] = bank | {"rows": rows}
        return params, state | {"memory": memory}

    return method._replace(extract=extract, refresh=refresh)


def _number(negatives, size, num_clips):
    """(config key for messages, negatives per query) for a batch of `size`."""
    if negatives.num_negatives:
        return "config.method.negatives", negatives.num_negatives
    return f"config.batch_size={size}", size - num_clips
