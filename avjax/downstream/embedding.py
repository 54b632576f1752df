"""Embeds batches of clips with a model, on all devices."""

import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from avjax.downstream.model import Model, method_for
from avjax.nets import intermediates
from avjax.runtime import sharding
from avjax.training.step import make_embed_fn
from avjax.types import NotApplicable


def make_embed(
    model: Model, layers: Mapping[str, Sequence[str]] | None = None
) -> Callable[[dict], dict]:
    """Returns a function batch -> embeddings, as `types.Evaluator` describes them, and layers.

    The rows of a batch are padded to a multiple of the devices.

    Args:
      model: the nets.
      layers: {modality: names of layers} whose pooled outputs are added, see
        `avjax.nets.intermediates`.

    Raises:
      NotApplicable: layers of a model without towers.
    """
    mesh, method = sharding.mesh(), model.method
    weights = jax.device_put((model.params, model.state), sharding.replicated(mesh))
    if layers:
        if model.net is None:
            raise NotApplicable("its method has no towers, so it has no layers by modality")
        method = method._replace(embed=intermediates.embed_with_layers(model.net, layers))

    @functools.cache
    def compiled(names):
        fn = make_embed_fn(method_for(model, method, dict.fromkeys(names)).embed)
        return jax.jit(fn, out_shardings=sharding.replicated(mesh))

    def embed(batch):
        size, fn = len(batch["index"]), compiled(tuple(sorted(batch)))
        padded = {name: _pad(value, -size % mesh.size) for name, value in batch.items()}
        out = jax.device_get(fn(*weights, sharding.shard_batch(padded, mesh)))
        return jax.tree.map(lambda value: value[:size], out)

    return embed


def _pad(value: np.ndarray, count: int) -> np.ndarray:
    return np.concatenate([value, np.zeros((count, *value.shape[1:]), value.dtype)])
