"""The training step of an experiment on devices that need not exist, traced and lowered."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from avjax.planning import dataless
from avjax.planning.memory import bytes_per_device, saved_for_backward
from avjax.runtime import sharding
from avjax.training import cost, state, step
from avjax.training.experiment import Experiment
from avjax.types import TrainState


class TracedStep(NamedTuple):
    """A traced training step.

    Attributes:
      state: shapes and shardings of the TrainState.
      clips: those of a global batch.
      batch_size: clips of it.
      mesh_size: number of devices.
      flops: of the products and convolutions of a step, on all devices.
      loop_factor: `flops` in parts of what a compiler counts, which takes loops once; at least 1.
      lower: () -> the lowered program.
    """

    state: TrainState
    clips: dict[str, jax.ShapeDtypeStruct]
    batch_size: int
    mesh_size: int
    flops: float
    loop_factor: float
    lower: Callable[[], Any]


def trace(experiment: Experiment, mesh: jax.sharding.Mesh) -> TracedStep:
    """Traces the training step of an experiment; nothing is compiled.

    Args:
      experiment: as of `dataless.build`.
      mesh: the device mesh; its devices need not exist.

    Raises:
      ValueError: the batch does not split among the devices, or the state as the rules say.
    """
    size = experiment.settings.batch_size
    if size % mesh.size:
        raise ValueError(
            f"config.batch_size={size} must be divisible by the number of devices ({mesh.size}): "
            f"use --config.batch_size={max(1, size // mesh.size) * mesh.size}"
        )
    with jax.set_mesh(mesh):
        clips = sharding.abstract_batch(dataless.batch_shapes(experiment), size, mesh)
        shapes, shardings = state.abstract_state(
            experiment, clips, mesh, state.abstract_key(experiment)
        )
        placed = sharding.abstract_tree(shapes, shardings)
        traced = step.make_step(experiment, shardings, mesh).trace(placed, clips)
        whole = cost.count_flops(traced.jaxpr, all_iterations=True)
        once = cost.count_flops(traced.jaxpr, all_iterations=False)

    def lower():
        with jax.set_mesh(mesh):
            return traced.lower()

    factor = whole / once if once else 1.0
    return TracedStep(placed, clips, size, mesh.size, whole, factor, lower)


def forward_bytes(experiment: Experiment, mesh: jax.sharding.Mesh) -> tuple[float, float]:
    """Returns bytes per clip that the nets keep for the backward pass, see `saved_for_backward`.

    Args:
      experiment: without chunks.
      mesh: as of `trace`.
    """
    clips, args = dataless.batch_shapes(experiment), experiment.method_args
    each = mesh.size * next(iter(clips.values())).shape[0]
    # More than the others of a batch that a query is compared with.
    sampled = getattr(args.get("negatives"), "num_negatives", None) or 0
    count = max(2, sampled // each + 2) * each
    rows = lambda n: {k: jax.ShapeDtypeStruct((n, *v.shape[1:]), v.dtype) for k, v in clips.items()}
    with jax.set_mesh(mesh):
        key = state.abstract_key(experiment)
        shapes, _ = state.abstract_state(experiment, rows(count), mesh, key)
        return saved_for_backward(experiment.method.loss, shapes.params, shapes.state, rows, count)


def memory_by_kind(traced: TracedStep) -> dict[str, int]:
    """Returns bytes per device of what a step is given, by kind.

    Args:
      traced: the step.
    """
    ts = traced.state
    return {
        "parameters": bytes_per_device(ts.params),
        "optimizer": bytes_per_device(ts.opt),
        "state": bytes_per_device((ts.state, ts.step, ts.rng)),
        "batch": bytes_per_device(traced.clips),
    }
