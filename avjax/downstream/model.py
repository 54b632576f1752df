"""The models of a downstream evaluation: trained nets, and the same nets with random weights."""

import functools
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from avjax.config.build import build
from avjax.data import example
from avjax.downstream import recipe as recipes
from avjax.runtime import checkpoint, run_config
from avjax.training import experiment
from avjax.types import Method, Tree

# Records for which an untrained method makes its memories; they are not evaluated.
NUM_RECORDS = 4096


class Model(NamedTuple):
    """A row of the table.

    Attributes:
      name: of the row.
      kind: "trained" or "untrained".
      folder: of the run.
      config: of the run.
      step: training steps of its latest checkpoint; 0 if untrained.
      method: the method, without the device transform of the run.
      net: the Linen module of the towers; None if the method has none.
      device_transform: batch -> batch, or None; see `experiment.with_device_transform`.
      params, state: as of `types.Method`.
      key: a hash of the weights and of the config of the nets.
      trust: packages that the config may name beside avjax and optax.
    """

    name: str
    kind: str
    folder: str
    config: dict[str, Any]
    step: int
    method: Method
    net: Any
    device_transform: Callable | None
    params: Tree
    state: Tree
    key: str
    trust: Sequence[str] = ()


def open_run(
    folder: str | os.PathLike, name: str | None = None, trust: Sequence[str] = ()
) -> Model:
    """Opens the latest checkpoint of a run.

    Args:
      folder: of a run of avjax, or of ported weights.
      name: of the row; None for the name of the folder.
      trust: packages that its config may name, beside parts of avjax and optax.

    Raises:
      FileNotFoundError: `folder` is not that of a run, or holds no checkpoint.
      ValueError: the config of the run names something else, or cannot be built.
    """
    config = run_config.read(folder)
    method, args = experiment.build_method(config, trust)
    transform = build(config.get("device_transform"), "config.device_transform", trust)
    saved = checkpoint.restore_latest(folder)
    params, state = saved["params"], saved["state"]
    return Model(
        name or Path(folder).resolve().name,
        "trained",
        str(folder),
        config,
        int(saved["step"]),
        method,
        args.get("model"),
        transform,
        params,
        state,
        weights_key(config, params, state),
        trust,
    )


def untrained(model: Model, seed: int = 0) -> Model:
    """Returns the same nets with random weights.

    The statistics of front ends, such as the mean spectrogram, are those of the run.

    Args:
      model: a trained model.
      seed: of the weights.
    """
    built = recipes.build_recipe(recipes.recipe_of(model.config, trust=model.trust), model.trust)
    zeros = example.padding_example(built.clip_sampler, built.transforms)
    method = method_for(model, model.method, zeros)
    params, new = jax.jit(functools.partial(_init, method.init))(jax.random.key(seed), zeros)
    stats = {**model.state["stats"], **new}
    state = {**model.state, "stats": stats}
    key = weights_key(model.config, params, state)
    name = f"{model.name} (untrained)"
    return model._replace(name=name, kind="untrained", step=0, params=params, state=state, key=key)


def method_for(model: Model, method: Method, batch: Mapping[str, Any]) -> Method:
    """Returns a method with the device transform of the run, unless a batch lacks what it requires.

    Args:
      model: the model.
      method: its method, or one like it.
      batch: arrays by name.
    """
    required = {*getattr(model.device_transform, "requires", ())}
    if required - batch.keys():
        return method
    return experiment.with_device_transform(method, model.device_transform)


def _init(init, rng, batch):
    """(params, batch statistics) of a new state."""
    params, state = init(rng, batch, NUM_RECORDS)
    stats = state["stats"]
    return params, {"batch_stats": stats["batch_stats"]} if "batch_stats" in stats else {}


def weights_key(config: dict[str, Any], params: Tree, state: Tree) -> str:
    """Returns a hash of all weights and of the part of the config that defines the nets.

    Args:
      config: of the run.
      params, state: as of `types.Method`; memories do not count.
    """
    parts = {name: config.get(name) for name in ("method", "device_transform")}
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
    tree = {"params": params, "state": {k: v for k, v in state.items() if k != "memory"}}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        value = np.asarray(jax.device_get(leaf))
        name = f"{jax.tree_util.keystr(path)} {value.dtype} {value.shape}"
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
