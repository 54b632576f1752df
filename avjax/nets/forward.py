"""Initializes and applies a model, for all methods."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from avjax.config import ranges
from avjax.types import Array, Batch, Tree


def init_model(model: Any, rng: Array, batch: Batch) -> tuple[Tree, Tree, Tree]:
    """Initializes `model` on a batch, from which front ends estimate their statistics.

    Args:
      model: a Linen module.
      rng: a key.
      batch: arrays [B, ...].

    Returns:
      (params, stats, outputs [B, ...]); stats are the collections other than "params".
    """
    out, stats = model.init_with_output(rng, batch, train=False)
    return stats.pop("params"), stats, out


def make_embed(model: Any) -> Callable[[Tree, Tree, Batch], dict[str, dict[str, Array]]]:
    """Returns the `embed` of a Method that evaluates `model` with the trained parameters."""

    def embed(params, state, batch):
        return forward(model, params, state["stats"], batch, train=False)[0]

    return embed


def forward(
    model: Any, params: Tree, stats: Tree, batch: Batch, *, train: bool, chunks: int = 1
) -> tuple[Tree, Tree]:
    """Applies `model` to a batch, optionally in chunks with recomputed activations.

    With more than one chunk, only one chunk's activations are in memory, and each chunk runs again
    for its gradient, so the loss may compare all of a batch that would not fit (GradCache, Gao et
    al., 2021, https://arxiv.org/abs/2101.06983, by autodiff).  A chunk takes its share of every
    device.  Batch statistics are then those of a chunk.

    Args:
      model: a Linen module.
      params: its parameters.
      stats: its other collections.
      batch: arrays [B, ...] with "index".
      train: whether to use and update batch statistics.
      chunks: number of chunks, a divisor of the batch on each device.

    Returns:
      (outputs [B, ...], stats).

    Raises:
      ValueError: the batch does not split into the chunks.
    """

    def one(stats, part):
        out, new = model.apply(
            {"params": params, **stats}, part, train=train, mutable="batch_stats"
        )
        return {**stats, **new}, out

    ranges.check_integer("chunks", chunks, 1)
    if chunks == 1:
        stats, out = one(stats, batch)
        return out, stats

    n = max(1, jax.sharding.get_abstract_mesh().size)
    size = batch["index"].shape[0]
    if size % (n * chunks):
        raise ValueError(f"chunks={chunks}: a batch of {size} does not split so on {n} devices")

    def split(x):
        x = x.reshape(n, chunks, -1, *x.shape[1:])
        return jnp.moveaxis(x, 1, 0).reshape(chunks, -1, *x.shape[3:])

    def join(x):
        x = x.reshape(chunks, n, -1, *x.shape[2:])
        return jnp.moveaxis(x, 0, 1).reshape(-1, *x.shape[3:])

    stats, out = jax.lax.scan(jax.checkpoint(one), stats, jax.tree.map(split, batch))
    return jax.tree.map(join, out), stats
