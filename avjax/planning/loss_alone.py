"""A contrastive loss of a whole batch without its nets: compiled in seconds."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec as P

from avjax.config.build import build
from avjax.losses.contrastive import info_nce, resolve
from avjax.planning import compile as compiler
from avjax.planning.compile import Account
from avjax.planning.memory import bytes_per_device
from avjax.planning.step import TracedStep
from avjax.planning.topology import Topology
from avjax.runtime import sharding
from avjax.training.experiment import Experiment
from avjax.types import Negatives

TEMPERATURE = 0.07
NUM_NEGATIVES, QUEUE_SIZE = 1024, 65_536
PER_DEVICE = 16, 32, 64  # Clips per device of the batches that are compiled.


def sources(spec: dict | None, devices: int, records: int) -> dict[str, dict]:
    """Returns {name: spec} of the sources of negatives to compare; the config's own comes first.

    Args:
      spec: config.method.negatives; None for a method without.
      devices: number of devices: `tiled` is written for one, `ring` for several.
      records: of a memory bank, more than it samples.
    """
    if spec is None:
        return {}
    number = max(1, min(NUM_NEGATIVES, records - 1))
    exact = "ring" if devices > 1 else "tiled"
    others = {
        "in_batch": dict(fn="avjax.losses.negatives.in_batch"),
        exact: dict(fn=f"avjax.losses.negatives.{exact}"),
        "memory_bank": dict(fn="avjax.losses.memory_bank", num_negatives=number),
        "shared_negatives": dict(
            fn="avjax.losses.memory_bank.shared_negatives", num_negatives=number
        ),
        "queue": dict(fn="avjax.losses.queue", queue_size=QUEUE_SIZE),
    }
    name = spec["fn"].rsplit(".", 1)[-1]
    return {name: spec} | {key: other for key, other in others.items() if key != name}


def embedding_width(experiment: Experiment, traced: TracedStep) -> int:
    """Returns D, the width of the embeddings that a method compares.

    Args:
      experiment: the parts of a run.
      traced: its step.
    """
    ts = traced.state
    out = jax.eval_shape(experiment.method.embed, ts.params, ts.state, traced.clips)
    found = [one["embedding"] for one in out.values() if isinstance(one, dict)]
    return found[0].shape[-1]


def lower(
    negatives: Negatives, loss_fn: Any, size: int, dim: int, records: int, rules: Any, mesh: Any
) -> tuple[Any, int]:
    """Returns (lowered program, bytes per device of the memory).

    The program is the loss of both directions, its gradients with respect to the embeddings, and
    the update of the memory.

    Args:
      negatives: the source.
      loss_fn: a ContrastiveLoss.
      size: B.
      dim: D.
      records: of the memory.
      rules: config.sharding_rules.
      mesh: the device mesh.
    """
    split = NamedSharding(mesh, P(sharding.AXES))
    number = negatives.num_negatives or size - 1
    loss_fn = resolve(
        loss_fn,
        {},
        num_negatives=("config.method.negatives", number),
        dim=("config.method.model", dim),
        temperature=("config.method.temperature", TEMPERATURE),
    )

    def one(memory, query, key, index, rng):
        def value(pair):
            q, k = pair
            if negatives.symmetric_loss:
                a, b = negatives.symmetric_loss(q / TEMPERATURE, k, index, rng, loss_fn)
            else:
                a = negatives.loss(memory["audio"], q / TEMPERATURE, k, index, rng, loss_fn)
                b = negatives.loss(memory["video"], k / TEMPERATURE, q, index, rng, loss_fn)
            return a.mean() + b.mean()

        loss, gradients = jax.value_and_grad(value)((query, key))
        new = {
            m: negatives.update(memory[m], z, index) for m, z in (("video", query), ("audio", key))
        }
        return new, loss, gradients

    with jax.set_mesh(mesh):
        key = jax.eval_shape(lambda: jax.random.key(0))
        empty = lambda rng: {m: negatives.init(rng, records, dim) for m in ("video", "audio")}
        shapes = {"state": {"memory": jax.eval_shape(empty, key)}}
        placed = sharding.abstract_tree(shapes, sharding.shardings_from_rules(shapes, mesh, rules))[
            "state"
        ]["memory"]
        z = jax.ShapeDtypeStruct((size, dim), jnp.float32, sharding=split)
        index = jax.ShapeDtypeStruct((size,), jnp.int32, sharding=split)
        rng = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=NamedSharding(mesh, P()))
        places = jax.tree.map(lambda x: x.sharding, placed)
        whole = NamedSharding(mesh, P())
        program = jax.jit(one, donate_argnums=0, out_shardings=(places, whole, (split, split)))
        return program.lower(placed, z, z, index, rng), bytes_per_device(placed)


class Losses(NamedTuple):
    """The loss of a run with each source of negatives.

    Attributes:
      own: name of the config's own source; "" for a method without negatives.
      specs: {name: spec}, see `sources`.
      compiled: (name, B) -> (Account, bytes per device of the memory).
    """

    own: str
    specs: dict[str, dict]
    compiled: Callable[[str, int], tuple[Account, int]]


def of_experiment(
    experiment: Experiment, traced: TracedStep, records: int, mesh: Any, topology: Topology
) -> Losses:
    """Returns the Losses of a run; nothing is compiled before it is asked for.

    Args:
      experiment: the parts of the run, whose loss and sharding rules count.
      traced: its step.
      records: of a memory bank.
      mesh: the device mesh.
      topology: of the mesh.
    """
    specs = sources(experiment.config["method"].get("negatives"), topology.count, records)
    if not specs:
        return Losses("", {}, _no_negatives)
    with jax.set_mesh(mesh):
        dim, rules = embedding_width(experiment, traced), experiment.sharding_rules
    loss_fn = experiment.method_args.get("loss_fn") or info_nce()

    def compiled(name, size):
        negatives = build(specs[name], "config.method.negatives")
        lowered, kept = lower(negatives, loss_fn, size, dim, records, rules, mesh)
        title = f"the loss with {name} at {size:,} clips"
        return compiler.account(lowered, topology, title), kept

    return Losses(next(iter(specs)), specs, compiled)


def _no_negatives(name, size):
    raise ValueError("the method has no negatives")


def fit(sizes: list[int], values: list[int]) -> Callable[[int], float]:
    """Returns B -> bytes: the parabola through three points, or the line if it bends down.

    Args:
      sizes: three batch sizes, each twice the one before.
      values: bytes at each.
    """
    (b, c, d), (x, y, z) = sizes, values
    bend = ((z - y) / (d - c) - (y - x) / (c - b)) / (d - b)
    slope = max(0.0, (z - y) / (d - c))
    if bend <= 0 or not math.isfinite(bend):
        return lambda n: max(0.0, z + slope * (n - d))
    return lambda n: max(0.0, z + slope * (n - d) + bend * (n - c) * (n - d))
