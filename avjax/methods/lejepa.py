"""LeJEPA across modalities: video and audio of a clip agree, and each is normally distributed.

Balestriero and LeCun, 2025, https://arxiv.org/abs/2511.08544.  It has no negatives, no memory and
no momentum encoder: a control for the methods that have.
"""

from typing import Any

import jax.numpy as jnp

from avjax.config import ranges
from avjax.losses import pairs
from avjax.losses.sigreg import sigreg
from avjax.nets.forward import forward, init_model, make_embed
from avjax.types import Method

MODALITIES = ("video", "audio")


def make(
    model: Any,
    sigreg_weight: float,
    num_directions: int = 256,
    knots: int = 17,
    chunks: int = 1,
) -> Method:
    """(1 - w) times the distance of both embeddings from their mean, plus w times SIGReg.

    Args:
      model: towers whose embeddings keep their length: `normalize` is
        `avjax.nets.towers.identity`.
      sigreg_weight: w, 0 to 1; 0.05 in the paper, 0.02 in its authors' example.
      num_directions, knots: as in `avjax.losses.sigreg.sigreg`.
      chunks: parts of a batch that the encoders process in turn.

    Returns:
      A Method that logs "loss/alignment", "loss/sigreg_video" and "loss/sigreg_audio".

    Raises:
      ValueError: an argument is out of its range.
    """
    ranges.check_number("sigreg_weight", sigreg_weight, minimum=0, maximum=1)
    ranges.check_integer("num_directions", num_directions, 1)
    ranges.check_integer("knots", knots, 2)
    ranges.check_integer("chunks", chunks, 1)

    def init(rng, batch, size):
        params, stats, out = init_model(model, rng, batch)
        pairs.embeddings(out, MODALITIES)
        return params, {"stats": stats}

    def loss(params, state, batch, rng):
        out, stats = forward(model, params, state["stats"], batch, train=True, chunks=chunks)
        z = pairs.embeddings(out, MODALITIES)
        # Paper: several views of a picture, and the mean of the global ones; here two modalities.
        half = (z["video"] - z["audio"]) / 2  # From each to their mean.
        alignment = jnp.square(half).mean()
        spread = {m: sigreg(z[m], rng, num_directions, knots) for m in MODALITIES}
        total = (1 - sigreg_weight) * alignment + sigreg_weight * sum(spread.values()) / 2
        metrics = {"loss/alignment": alignment}
        metrics |= {f"loss/sigreg_{m}": value for m, value in spread.items()}
        return total, ({"stats": stats}, metrics)

    return Method(init, loss, make_embed(model))
