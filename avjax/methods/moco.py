"""MoCo across modalities: each clip is matched to its audio's key, and each audio to its clip's.

He et al., CVPR 2020, https://arxiv.org/abs/1911.05722; v2 https://arxiv.org/abs/2003.04297.  Keys
come from momentum encoders (an exponential moving average of the towers) and are queued.
"""

from typing import Any

import jax

from avjax.config import ranges
from avjax.losses import pairs, queue
from avjax.losses.contrastive import resolve
from avjax.losses.score_metrics import mean_scores, with_statistics
from avjax.nets.forward import forward, init_model, make_embed
from avjax.nets.momentum_encoder import ema_update
from avjax.types import ContrastiveLoss, Inherited, Method

# From a run without momentum encoders, they start as copies of the trained ones.
INHERITS = {
    "state/momentum_encoder/params": Inherited(copy="params"),
    "state/momentum_encoder/stats": Inherited(copy="state/stats"),
}


def make(
    model: Any,
    queue_size: int,
    loss_fn: ContrastiveLoss,
    terms: dict[str, float],
    temperature: float,
    momentum: float,
    num_clips: int = 1,
    chunks: int = 1,
    num_negatives: int | None = None,
) -> Method:
    """MoCo with one queue per modality that has keys.

    Args:
      model: towers.
      queue_size: number of keys, a multiple of the batch size.
      loss_fn: contrastive loss.
      terms: weight of each term; they are divided by their sum.  v2v and a2a are MoCo as published,
        where the key is of the record's next clip.  With v2v alone, clips without audio are trained
        on too.
      temperature: divisor of the scores.
      momentum: decay of the moving average.
      num_clips: clips per record, consecutive rows of a batch; as in the data's clips.
      chunks: parts of a batch that the encoders process in turn.
      num_negatives: as in `avjax.losses.queue`.

    Returns:
      A Method that logs "loss/<term>" and "score/...".

    Raises:
      ValueError: an argument is out of its range, or a term would compare a clip with itself; from
        `loss`, queue_size is not a multiple of the batch.
    """
    terms = pairs.nonzero_terms(terms, method="MoCo")
    ranges.check_number("temperature", temperature, above=0)
    ranges.check_number("momentum", momentum, minimum=0, maximum=1)
    ranges.check_integer("num_clips", num_clips)
    ranges.check_integer("chunks", chunks)
    pairs.check_other_clip(terms, num_clips)
    negatives = queue.make(queue_size, num_negatives)
    queued = sorted({pairs.DIRECTIONS[t][1] for t in terms})
    needed = pairs.modalities_of(terms)

    def init(rng, batch, size):
        rng_model, *rngs = jax.random.split(rng, 3)
        params, stats, out = init_model(model, rng_model, batch)
        z = pairs.embeddings(out, needed)
        memory = {m: negatives.init(r, size, z[m].shape[1]) for m, r in zip(queued, rngs)}
        momentum_encoder = {"params": params, "stats": stats}
        return params, {"stats": stats, "momentum_encoder": momentum_encoder, "memory": memory}

    def encode(params, stats, batch):
        out, stats = forward(model, params, stats, batch, train=True, chunks=chunks)
        return pairs.embeddings(out), stats

    def loss(params, state, batch, rng):
        index, memory = batch["index"], state["memory"]
        if queue_size % len(index):
            raise ValueError(
                f"queue_size={queue_size} is not a multiple of the batch of {len(index)}: use "
                f"{max(1, queue_size // len(index)) * len(index)}"
            )
        # Paper: shuffles the batch between GPUs, so that batch statistics of a share do not reveal
        # the key.  Here statistics are those of the global batch, momentum encoders have their
        # own, and the key of a cross-modal term is from another net altogether.
        ema_params = jax.lax.stop_gradient(
            ema_update(state["momentum_encoder"]["params"], params, momentum)
        )
        query, stats = encode(params, state["stats"], batch)
        key, ema_stats = jax.lax.stop_gradient(
            encode(ema_params, state["momentum_encoder"]["stats"], batch)
        )

        def losses(query, loss_fn):
            for t in terms:
                q, k = pairs.DIRECTIONS[t]
                # Paper: one view is the query and the other the key; here each is both.
                own = pairs.next_clip_of_record(key[k], index, num_clips) if q == k else key[k]
                yield negatives.loss(memory[k], query[q], own, index, rng, loss_fn)

        source = "num_negatives" if num_negatives else "queue_size"
        num_used = num_negatives or queue_size
        own = resolve(
            loss_fn,
            batch,
            num_negatives=(f"config.method.{source}={num_used}", num_used),
            dim=("config.method.model", next(iter(query.values())).shape[1]),
            temperature=("config.method", temperature),
        )
        scaled = {m: z / temperature for m, z in query.items()}
        found = [*losses(scaled, with_statistics(own, temperature))]
        total, metrics = pairs.combine_terms(dict(zip(terms, (x for x, _ in found))), terms)
        metrics |= mean_scores(scores for _, scores in found)
        memory = {m: negatives.update(s, key[m], index) for m, s in memory.items()}
        momentum_encoder = {"params": ema_params, "stats": ema_stats}
        return total, (
            {"stats": stats, "momentum_encoder": momentum_encoder, "memory": memory},
            metrics,
        )

    return Method(init, loss, make_embed(model), inherits=INHERITS, needs_audio="audio" in needed)
