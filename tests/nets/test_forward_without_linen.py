"""Nets without Linen: towers as plain functions and as an NNX module train through a method.

`nets/forward.py` calls a model by `init_with_output` and `apply` only; an object with these two
functions is a model.  docs/develop/linen.md explains what a change of framework takes.
"""

import csv
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from avjax.nets.forward import forward
from avjax.ops.normalize import l2_normalize
from tests import tiny

MODALITIES = ("video", "audio")
WIDTH = 8


def flat(x):
    return x.reshape(len(x), -1).astype(jnp.float32) / 128


def centered(x, kernel, mean, train):
    """({"features", "embedding"}, running mean): a linear layer and a ReLU with mean 0."""
    y = jax.nn.relu(flat(x) @ kernel)
    batch_mean = y.mean(0, keepdims=True)
    y = y - (batch_mean if train else mean)
    return {"features": y, "embedding": l2_normalize(y)}, 0.9 * mean + 0.1 * batch_mean


class PlainTowers(NamedTuple):
    """Towers as functions of arrays."""

    width: int = WIDTH

    def init_with_output(self, rng, batch, train):
        sizes = {m: flat(batch[m]).shape[1] for m in MODALITIES}
        params = {
            m: jax.random.normal(key, (sizes[m], self.width)) / sizes[m] ** 0.5
            for m, key in zip(MODALITIES, jax.random.split(rng))
        }
        stats = {m: jnp.zeros((1, self.width)) for m in MODALITIES}
        variables = {"params": params, "batch_stats": stats}
        return self.apply(variables, batch, train)[0], variables

    def apply(self, variables, batch, train, mutable="batch_stats"):
        params, stats = variables["params"], variables["batch_stats"]
        there = [m for m in MODALITIES if m in batch]
        both = {m: centered(batch[m], params[m], stats[m], train) for m in there}
        new = {m: mean for m, (_, mean) in both.items()} if train else {}
        return {m: out for m, (out, _) in both.items()}, {"batch_stats": stats | new}


class LinenTowers(nn.Module):
    """The same in Linen."""

    @nn.compact
    def __call__(self, batch, train: bool):
        out = {}
        for m in MODALITIES:
            kernel = self.param(m, nn.initializers.lecun_normal(), (flat(batch[m]).shape[1], WIDTH))
            mean = self.variable("batch_stats", m, jnp.zeros, (1, WIDTH))
            out[m], new = centered(batch[m], kernel, mean.value, train)
            if train:
                mean.value = new
        return out


class NnxEncoder(nnx.Module):
    def __init__(self, size, rngs):
        self.linear = nnx.Linear(size, WIDTH, rngs=rngs)
        self.norm = nnx.BatchNorm(WIDTH, rngs=rngs)

    def __call__(self, x, train):
        y = jax.nn.relu(self.norm(self.linear(x), use_running_average=not train))
        return {"features": y, "embedding": l2_normalize(y)}


class NnxModel(NamedTuple):
    """Any NNX encoders as a model; make: (size of the input, rngs) -> encoder."""

    make: Callable = NnxEncoder

    def init_with_output(self, rng, batch, train):
        encoders = self.encoders(batch, rng)
        _, params, stats = nnx.split(encoders, nnx.Param, nnx.BatchStat)
        variables = {"params": nnx.to_pure_dict(params), "batch_stats": nnx.to_pure_dict(stats)}
        return self.apply(variables, batch, train)[0], variables

    def apply(self, variables, batch, train, mutable="batch_stats"):
        encoders = nnx.eval_shape(lambda: self.encoders(batch, jax.random.key(0)))
        graph, params, stats = nnx.split(encoders, nnx.Param, nnx.BatchStat)
        nnx.replace_by_pure_dict(params, variables["params"])
        nnx.replace_by_pure_dict(stats, variables["batch_stats"])
        encoders = nnx.merge(graph, params, stats)
        out = {m: encoders[m](flat(batch[m]), train) for m in encoders}
        return out, {"batch_stats": nnx.to_pure_dict(nnx.state(encoders, nnx.BatchStat))}

    def encoders(self, batch, rng):
        rngs = nnx.Rngs(rng)
        return nnx.Dict({m: self.make(flat(batch[m]).shape[1], rngs) for m in MODALITIES})


def made_batch(size=16):
    rng = np.random.default_rng(0)
    return {
        "video": rng.integers(0, 255, (size, 2, 3, 3, 3), np.uint8),
        "audio": rng.integers(-99, 99, (size, 20), np.int16),
        "index": np.arange(size, dtype=np.int32),
    }


@pytest.mark.parametrize("chunks", [1, 2])
def test_plain_functions_equal_linen(chunks):
    data = jax.tree.map(jnp.asarray, made_batch())
    _, stats = PlainTowers().init_with_output(jax.random.key(0), data, train=False)
    params = stats.pop("params")
    found = []
    for model in (PlainTowers(), LinenTowers()):

        def loss(params, model=model):
            out, new = forward(model, params, stats, data, train=True, chunks=chunks)
            scores = out["video"]["embedding"] @ out["audio"]["embedding"].T
            return jnp.sum(jnp.exp(scores)), new

        found.append(jax.jit(jax.value_and_grad(loss, has_aux=True))(params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), *found)


@pytest.mark.parametrize("name", ["PlainTowers", "NnxModel"])
def test_run_needs_no_linen(name, world, tmp_path):
    """Two steps of AVID with evaluation and a checkpoint in between, from which it resumes."""
    config = tiny.config(world, steps=2)
    config["method"] |= dict(model=dict(fn=f"{__name__}.{name}"), chunks=2)
    suite = config["evals"]["world"]
    suite |= dict(train=None, scores=dict(retrieval=suite["scores"]["retrieval"]))
    first = jax.device_get(tiny.run(config | dict(steps=1), tmp_path))
    last = jax.device_get(tiny.run(config, tmp_path))
    assert (int(first.step), int(last.step)) == (1, 2)
    for part in (lambda ts: ts.params, lambda ts: ts.state["stats"]):
        changed = jax.tree.map(lambda a, b: bool((a != b).any()), part(first), part(last))
        assert all(jax.tree.leaves(changed)), changed
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = {(row["step"], row["name"]): float(row["value"]) for row in csv.DictReader(file)}
    assert rows["1", "grad_norm"] > 0 and rows["1", "loss"] != rows["2", "loss"]
    for step in "012":
        assert rows[step, "eval/world/retrieval/v2a/recall@10"] >= 0
