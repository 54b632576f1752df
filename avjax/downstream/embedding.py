"""Embeds batches of clips with a model, on all devices."""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from avjax.downstream.model import Model
from avjax.runtime import sharding
from avjax.training.step import make_embed_fn


def make_embed(model: Model, layers: Sequence[str] = ()) -> Callable[[dict], dict]:
    """Returns a function batch -> {modality: {"features", "embedding", layer, "mask"}}.

    The rows of a batch are padded to a multiple of the devices.

    Args:
      model: the nets.
      layers: names of layers whose pooled outputs are added.
    """
    mesh = sharding.mesh()
    functions = {
        with_transform: jax.jit(make_embed_fn(method), out_shardings=sharding.replicated(mesh))
        for with_transform, method in ((True, model.method), (False, model.plain_method))
    }

    def embed(batch):
        size, fn = len(batch["index"]), functions[not model.requires - batch.keys()]
        padded = {name: _pad(value, -size % mesh.size) for name, value in batch.items()}
        out = jax.device_get(fn(model.params, model.state, sharding.shard_batch(padded, mesh)))
        return {
            name: {kind: value[:size] for kind, value in found.items()}
            for name, found in out.items()
            if isinstance(found, dict)
        }

    return embed


def _pad(value: np.ndarray, count: int) -> np.ndarray:
    return np.concatenate([value, np.zeros((count, *value.shape[1:]), value.dtype)])
