"""SogCLR across modalities: contrast with all records from small batches, by running sums.

Yuan et al., ICML 2022, https://arxiv.org/abs/2202.12387.  Each clip is matched to its own audio
among those of the batch and the reverse; what a record's negatives sum up to is a moving average
over all its batches, one number per record and direction.
"""

from typing import Any

from avjax.config import ranges
from avjax.losses import pairs, running_normalizer
from avjax.losses.score_metrics import mean_scores, with_statistics
from avjax.nets.forward import forward, init_model, make_embed
from avjax.types import Inherited, Method, Negatives

TERMS = ("v2a", "a2v")


def make(
    model: Any,
    negatives: Negatives,
    temperature: float,
    gamma: float,
    chunks: int = 1,
    num_clips: int = 1,
) -> Method:
    """SogCLR with one sum per record for v2a and one for a2v.

    Args:
      model: towers, e.g. `avjax.nets.towers.Towers`.
      negatives: `avjax.losses.negatives.in_batch`, `tiled` or `ring`.
      temperature: divisor of the scores.
      gamma: weight of the batch in the moving average, 0 < gamma <= 1; 1 is
        `avjax.losses.contrastive.dcl`.
      chunks: parts of a batch that the encoders process in turn.
      num_clips: clips per record, consecutive rows of a batch; as in the data's clips.

    Returns:
      A Method that logs "loss/v2a", "loss/a2v" and "score/...".

    Raises:
      ValueError: an argument is out of its range, or the negatives are of a memory.
    """
    ranges.check_number("temperature", temperature, above=0)
    ranges.check_number("gamma", gamma, above=0, maximum=1)
    ranges.check_integer("chunks", chunks, 1)
    ranges.check_integer("num_clips", num_clips, 1)
    if negatives.symmetric_loss is None:
        raise ValueError(
            "SogCLR has negatives of the batch: use avjax.losses.negatives.in_batch, tiled or ring"
        )
    compare = negatives.symmetric_loss

    def init(rng, batch, size):
        params, stats, out = init_model(model, rng, batch)
        pairs.embeddings(out, ("video", "audio"))
        return params, {
            "stats": stats,
            "running": {term: running_normalizer.init(size) for term in TERMS},
        }

    def loss(params, state, batch, rng):
        out, stats = forward(model, params, state["stats"], batch, train=True, chunks=chunks)
        z, index = pairs.embeddings(out), batch["index"]
        pairs.check_other_records(len(index), num_clips)
        number = negatives.num_negatives or len(index) - num_clips
        query = z["video"] / temperature
        watched = with_statistics(running_normalizer.totals(), temperature)
        found = compare(query, z["audio"], index, rng, watched)
        each, running = {}, {}
        for term, (totals, _) in zip(TERMS, found):
            each[term], running[term] = running_normalizer.loss_and_update(
                state["running"][term], totals, index, number, gamma
            )
        total, metrics = pairs.combine_terms(each, dict.fromkeys(TERMS, 1.0))
        metrics |= mean_scores(scores for _, scores in found)
        return total, ({"stats": stats, "running": running}, metrics)

    inherits = {f"state/running/{term}": Inherited(records=True) for term in TERMS}
    return Method(init, loss, make_embed(model), inherits=inherits)
