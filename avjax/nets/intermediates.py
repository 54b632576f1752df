"""Outputs of the layers of encoders, pooled: what probes and SVMs by layer are fitted on.

A layer of an encoder is named as its module.  The stages, which the papers probe, are found by
their names: `conv2x` is the last of the modules `conv2x_0`, `conv2x_1` ...
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from avjax.nets.layers.adaptive_pool import adaptive_average_pool, adaptive_max_pool
from avjax.types import Array, Batch, Tree

# Names of stages, or of their parts with a number behind; the second kind in nets without the
# first, where `conv1` is no stem.
STAGES = (r"(conv\d+x|block\d+|stage\d+|mixed\d+[a-z])(?:_(\d+))?", r"(conv\d+)(?:_(\d+))?")
PREFIX = "encoders_"
# Positions to keep along height and width, or time and frequency.
# AVID, https://arxiv.org/abs/2004.12943, and its program: 9,216, 8,192, 9,216 and 8,192 features.
SIZES = {
    **{"conv2x": 12, "conv3x": 8, "conv4x": 6, "conv5x": 4},
    **{"block1": 12, "block2": 8, "block3": 6, "block4": 4},
}
MAX_FEATURES, MAX_SIZE = 9216, 12  # Of the layers of other names.

Pool = Callable[[str, str, Array], Array]


def stage_paths(params: Tree) -> dict[str, dict[str, str]]:
    """Finds the stages of the encoders of towers by the names of their modules.

    Args:
      params: of a model like `avjax.nets.towers.Towers`.

    Returns:
      {modality: {stage: path of its last module in the encoder}}, in the order of their names;
      empty for encoders whose modules have other names.

    Raises:
      ValueError: the model has no encoders by modality.
    """
    names = [name.removeprefix(PREFIX) for name in params if name.startswith(PREFIX)]
    if not names:
        raise ValueError(
            f"no encoders by modality in a model of {', '.join(params)}: layers are read of "
            "avjax.nets.towers.Towers and models with the same names of parameters"
        )
    return {name: _stages(_module_paths(params[PREFIX + name])) for name in sorted(names)}


def resolve_layers(params: Tree, layers: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """Finds the modules of layers.

    Args:
      params: of a model like `avjax.nets.towers.Towers`.
      layers: {modality: stages, or paths of modules such as "conv2x_0/spatial1"}.

    Returns:
      {modality: {layer: path of its module in the encoder}}.

    Raises:
      ValueError: the model has no such encoder, or the encoder no such layer.
    """
    stages = stage_paths(params)
    found = {}
    for name, requested in layers.items():
        if name not in stages:
            raise ValueError(f"layers of {name!r}: this model has encoders of {_listed(stages)}")
        modules = _module_paths(params[PREFIX + name])
        for layer in requested:
            if layer not in stages[name] and layer not in modules:
                top = [path for path in modules if "/" not in path]
                raise ValueError(
                    f"layer {layer!r} of the {name} encoder: its stages are "
                    f"{_listed(stages[name])}, its modules {_listed(top)}"
                )
        found[name] = {layer: stages[name].get(layer, layer) for layer in requested}
    return found


def embed_with_layers(
    model: Any, layers: Mapping[str, Sequence[str]] | None = None, pool: Pool | None = None
) -> Callable[[Tree, Tree, Batch], dict[str, dict[str, Array]]]:
    """Returns an `embed` of a Method that also gives pooled layers, in the same forward pass.

    Args:
      model: towers of Linen modules.
      layers: {modality: layers}, see `resolve_layers`; None for all stages of all encoders.
      pool: (modality, layer, map [B, ..., C]) -> [B, ...]; None for `pool_as_published`.

    Returns:
      (params, state, batch) -> {modality: {"features" [B, H], "embedding" [B, D], layer: [B, D']}}
      in evaluation mode, for the modalities of the batch.  It raises the errors of
      `resolve_layers`.
    """
    pool = pool or pool_as_published

    def embed(params, state, batch):
        chosen = stage_paths(params) if layers is None else resolve_layers(params, layers)
        wanted = {(PREFIX + m, *path.split("/")) for m in chosen for path in chosen[m].values()}
        out, aside = model.apply(
            {"params": params, **state["stats"]},
            batch,
            train=False,
            mutable=["intermediates"],
            capture_intermediates=lambda module, _: module.path in wanted,
        )
        found = {name: dict(of) for name, of in out.items()}
        for name in [name for name in found if name in chosen]:
            for layer, path in chosen[name].items():
                value = _captured(aside["intermediates"][PREFIX + name], path)
                found[name][layer] = _flat(pool(name, layer, value))
        return found

    return embed


def pool_as_published(modality: str, layer: str, x: Array) -> Array:
    """Pools a map as AVID does: video by maxima, over all of time; audio by means.

    The stages that AVID's encoders have are pooled to 12, 8, 6 and 4 positions each way, others to
    the most that leave 9,216 features, up to 12.  A map with fewer positions is kept as it is.

    Args:
      modality: "audio", or another for maxima.
      layer: name of the layer.
      x: [B, T, H, W, C], [B, H, W, C] or [B, S, F, C]; others are returned as they are.

    Returns:
      [B, ..., C] in float32 at least.
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if x.ndim not in (4, 5):
        return x
    square = int((MAX_FEATURES / x.shape[-1]) ** 0.5)
    size = SIZES.get(layer, min(MAX_SIZE, max(1, square)))
    sizes = tuple(min(size, length) for length in x.shape[-3:-1])
    pooled = adaptive_average_pool if modality == "audio" else adaptive_max_pool
    return pooled(x, ((1,) if x.ndim == 5 else ()) + sizes)


def _module_paths(tree: Tree) -> list[str]:
    """Paths of the modules with parameters, joined by "/"."""
    paths: dict[str, None] = {}
    for path, _ in jax.tree_util.tree_leaves_with_path(tree):
        parts = [key.key for key in path]
        paths |= {"/".join(parts[:i]): None for i in range(1, len(parts))}
    return list(paths)


def _stages(modules):
    """{stage: path of its last module}; parts of a stage are not looked at."""
    for pattern in STAGES:
        found: dict[str, tuple[int, str]] = {}
        for path in modules:
            *parents, name = path.split("/")
            match = re.fullmatch(pattern, name)
            if match and not any(re.fullmatch(pattern, parent) for parent in parents):
                part = int(match[2] or 0), path
                found[match[1]] = max(found.get(match[1], part), part)
        if found:
            return {stage: found[stage][1] for stage in sorted(found, key=_natural)}
    return {}


def _natural(name):
    """A key that sorts block10 after block2."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _captured(tree, path):
    """The output of a module, or of its only call."""
    for part in path.split("/"):
        tree = tree[part]
    calls = tree["__call__"]
    if len(calls) != 1 or not isinstance(calls[0], jax.Array):
        raise ValueError(f"layer {path!r} has {len(calls)} outputs: name a module that has one")
    return calls[0]


def _flat(x):
    return x.reshape(len(x), -1)


def _listed(names):
    return ", ".join(names) or "none"
