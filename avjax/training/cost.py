"""The cost of a training step, from the compiled program."""

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from avjax.data import pipeline
from avjax.nets import flops
from avjax.runtime import sharding
from avjax.training import sources, state
from avjax.training.experiment import Experiment, training_data
from avjax.training.step import make_step


def step_cost(experiment: Experiment) -> dict[str, float]:
    """Returns the cost of one training step, compiled ahead of time and not run.

    Args:
      experiment: the parts of a run.

    Returns:
      "flops": floating-point operations on all devices.  XLA counts the body of a loop once; the
        further iterations of its matrix products and convolutions are counted in the jaxpr.
      "temporaries": bytes per device besides arguments and results.
      "peak": bytes per device of arguments, results and temporaries.
    """
    mesh = sharding.mesh(fsdp=experiment.settings.fsdp)
    with jax.set_mesh(mesh):
        shapes, batch, shardings = abstract_step_args(experiment, mesh)
        traced = make_step(experiment, shardings, mesh).trace(shapes, batch)
        compiled = traced.lower().compile()
    memory = compiled.memory_analysis()
    arguments_and_results = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return {
        "flops": compiled.cost_analysis()["flops"] * mesh.size + loop_flops(traced.jaxpr),
        "temporaries": memory.temp_size_in_bytes,
        "peak": arguments_and_results - memory.alias_size_in_bytes + memory.temp_size_in_bytes,
    }


def abstract_step_args(experiment: Experiment, mesh: jax.sharding.Mesh):
    """Returns (state, batch, shardings) of a run's step: shapes with shardings, no state arrays."""
    sources.prepare(experiment.data)
    with contextlib.closing(pipeline.train_batches(**training_data(experiment), stop=1)) as stream:
        batch = sharding.shard_batch(next(stream), mesh)
    shapes, shardings = state.abstract_state(experiment, batch, mesh)
    return sharding.abstract_tree(shapes, shardings), batch, shardings


def call_flops(fn: Callable, *args: Any) -> float:
    """Returns the floating-point operations of a call, compiled and not run, as of `step_cost`.

    Args:
      fn: a function of trees of arrays.
      args: its arguments, or their shapes; on one device.
    """
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(np.shape(x), jax.dtypes.result_type(x)), args
    )
    traced = jax.jit(fn).trace(*shapes)
    found: Any = traced.lower().compile().cost_analysis()
    return found["flops"] + loop_flops(traced.jaxpr)


def loop_flops(jaxpr) -> float:
    """Returns the FLOPs of products and convolutions in loops beyond the first iteration."""
    return count_flops(jaxpr, all_iterations=True) - count_flops(jaxpr, all_iterations=False)


def count_flops(jaxpr, all_iterations: bool) -> float:
    """Returns the FLOPs of the matrix products and convolutions of a jaxpr on all devices.

    Args:
      jaxpr: a Jaxpr or ClosedJaxpr; of the branches of a `cond` the most expensive one counts.
      all_iterations: as in `flops.count_macs`.
    """
    return 2.0 * flops.count_macs(jaxpr, branch=max, all_iterations=all_iterations)
