"""Layer probes: linear classifiers on the layers of a frozen encoder, all trained together.

The linear evaluation on Kinetics of Morgado et al., CVPR 2021, https://arxiv.org/abs/2004.12943.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from avjax.config import ranges
from avjax.losses.classification import accuracy, cross_entropy
from avjax.nets.forward import init_model
from avjax.nets.intermediates import embed_with_layers, stage_paths
from avjax.nets.layers.batch_norm import BatchNorm
from avjax.nets.layers.mlp import Linear
from avjax.types import Array, Method, Tree

FEATURES = "features"  # The layer's name of the encoder's output.


def make(
    model: Any, num_classes: int, layers: Sequence[str] | None = None, modality: str = "video"
) -> Method:
    """A batch normalization and a linear classifier per layer; their cross-entropies are added.

    The encoder runs in evaluation mode and gets no gradient; layers are pooled as
    `avjax.nets.intermediates.pool_as_published` does.  Clips without a label (-1) do not count.
    From a run given as config.init_from without paths, the front ends and encoders are restored,
    whatever its method.

    Args:
      model: towers.
      num_classes: number of classes, more than the highest label.
      layers: names of stages or modules, see `avjax.nets.intermediates.resolve_layers`, or
        "features" for the encoder's output; None for all stages.
      modality: whose encoder is probed.

    Returns:
      A Method that logs "loss/<layer>" and "accuracy/<layer>", and whose `embed` also gives
      "logits/<layer>" [B, num_classes].

    Raises:
      ValueError: an argument is out of its range; from `init`, the encoder has no such layer.
    """
    ranges.check_integer("num_classes", num_classes, 2)
    if modality not in model.encoders:
        raise ValueError(f"modality={modality!r}: use one of {', '.join(sorted(model.encoders))}")
    if layers is not None and (isinstance(layers, str) or not layers):
        raise ValueError(f"layers={layers!r}: give a list of names, e.g. ('conv4x', 'conv5x')")
    norm: Any = BatchNorm()  # Their `apply` gives an array or a pair.
    linear: Any = Linear(num_classes)

    def pooled(params, state, batch):
        """(outputs of the towers, {layer: float [B, D]})."""
        names = tuple(stage_paths(params)[modality]) if layers is None else layers
        if not names:
            raise ValueError(
                f"layers: the {modality} encoder has no stages by the names of its modules; name "
                "the modules"
            )
        inner = {modality: [name for name in names if name != FEATURES]}
        out = embed_with_layers(model, inner)(params, state, batch)
        if modality not in out:
            raise ValueError(f"the batch has no {modality}, whose encoder is probed")
        found = {name: jax.lax.stop_gradient(out[modality][name]) for name in names}
        own = {name: out[modality][name] for name in ("features", "embedding")}
        return out | {modality: own}, found

    def init(rng, batch, size):
        rng_model, rng_probes = jax.random.split(rng)
        params, stats, _ = init_model(model, rng_model, batch)
        _, found = pooled(params, {"stats": stats}, batch)
        rngs = jax.random.split(rng_probes, len(found))
        probes, moments = {}, {}
        for key, (name, x) in zip(rngs, found.items()):
            variables = norm.init(key, x, False)
            weights = linear.init(key, x, False)["params"]
            probes[name] = {"norm": variables["params"], "linear": weights}
            moments[name] = variables["batch_stats"]
        return params | {"probes": probes}, {"stats": stats, "probe_stats": moments}

    def classify(probe: Tree, moments: Tree, x: Array, train: bool):
        """(logits [B, num_classes], new running statistics)."""
        variables = {"params": probe["norm"], "batch_stats": moments}
        x, new = norm.apply(variables, x, train, mutable=["batch_stats"])
        return linear.apply({"params": probe["linear"]}, x, train), new["batch_stats"]

    def loss(params, state, batch, rng):
        del rng
        total, metrics, moments = 0.0, {}, {}
        for name, x in pooled(params, state, batch)[1].items():
            probe, before = params["probes"][name], state["probe_stats"][name]
            logits, moments[name] = classify(probe, before, x, True)
            metrics[f"loss/{name}"] = cross_entropy(logits, batch["label"])
            metrics[f"accuracy/{name}"] = accuracy(logits, batch["label"])
            total += metrics[f"loss/{name}"]
        return jnp.asarray(total), (state | {"probe_stats": moments}, metrics)

    def embed(params, state, batch):
        out, found = pooled(params, state, batch)
        for name, x in found.items():
            probe, moments = params["probes"][name], state["probe_stats"][name]
            out[f"logits/{name}"] = classify(probe, moments, x, False)[0]
        return out

    nets = tuple(f"{part}_{name}" for part in ("frontends", "encoders") for name in model.encoders)
    return Method(
        init, loss, embed, needs_audio=modality == "audio", inherited_nets=tuple(sorted(nets))
    )
