"""The TrainState of a run: its initialization, its shapes and shardings, and its restoration."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from avjax.runtime import checkpoint, sharding
from avjax.training import init_examples, init_from, precision
from avjax.training.experiment import Experiment
from avjax.training.loop import print_on_process_zero
from avjax.training.step import MAX_FUNCTIONS
from avjax.types import Array, Batch, TrainState, Tree

# On CPUs the initialization compiles in half the time at level 1, and gives the same bits.  Level 0
# gives wrong gradients in other programs; other levels have not been tried on accelerators.
CPU_COMPILER_OPTIONS = dict(xla_backend_optimization_level=1)


def make_init(experiment: Experiment) -> Callable[[Array, Batch], TrainState]:
    """Returns a function (rng, batch) -> TrainState at step 0."""
    size = len(experiment.data["data.train"]["source"])
    return make_init_fn(experiment.method.init, experiment.optimizer, size)


@functools.lru_cache(maxsize=MAX_FUNCTIONS)
def make_init_fn(
    init_method: Callable, optimizer: optax.GradientTransformation, size: int
) -> Callable[[Array, Batch], TrainState]:
    """Returns the function of `make_init`, the same for the same arguments.

    Args:
      init_method: of the method, see `types.Method`.
      optimizer: the optimizer.
      size: number of records of the training source.
    """

    def init(rng, batch):
        rng, rng_init = jax.random.split(rng)
        params, state = init_method(rng_init, batch, size)
        return TrainState(jnp.zeros((), jnp.int32), rng, params, optimizer.init(params), state)

    return init


def abstract_state(
    experiment: Experiment,
    batch: Mapping[str, jax.Array | jax.ShapeDtypeStruct],
    mesh: jax.sharding.Mesh,
    key: Array | jax.ShapeDtypeStruct | None = None,
) -> tuple[TrainState, Tree]:
    """Returns (shapes, shardings) of the run's TrainState; nothing is compiled.

    Args:
      experiment: the parts of the run.
      batch: arrays or shapes [B, ...].
      mesh: the device mesh.
      key: the key of the run or its shape, see `abstract_key`; None to make it.  With the key
        itself the trace is shared with the run.

    Raises:
      ValueError: config.sharding_rules do not fit the state.
    """
    key = run_key(experiment) if key is None else key
    shapes = jax.eval_shape(make_init(experiment), key, batch)
    try:
        shardings = sharding.shardings_from_rules(shapes, mesh, experiment.sharding_rules)
    except ValueError as error:
        raise ValueError(f"config.sharding_rules: {error}") from error
    return shapes, shardings


def run_key(experiment: Experiment) -> Array:
    """Returns the key that the run starts with."""
    return jax.random.key(experiment.settings.seed)


def abstract_key(experiment: Experiment) -> jax.ShapeDtypeStruct:
    """Returns the shape of `run_key`, for a mesh of devices that need not exist."""
    return jax.eval_shape(lambda: run_key(experiment))


def init_or_restore(
    experiment: Experiment,
    data: dict[str, Any],
    mesh: jax.sharding.Mesh,
    checkpoints,
    train: bool = True,
) -> tuple[Experiment, TrainState, Tree]:
    """Restores the latest checkpoint, or initializes a new state.

    On an accelerator the convolutions of 16-bit nets are tested first; those that it computes
    wrongly run in float32 in the method of the returned experiment.

    Args:
      experiment: the parts of the run.
      data: arguments of `pipeline.train_batches`.
      mesh: the device mesh.
      checkpoints: as `checkpoint.open_checkpoints` returns them.
      train: False for a run that is read only, and may be going on.

    Returns:
      (experiment, TrainState, its shardings).
    """
    new = checkpoints.manager.latest_step() is None
    # Front ends estimate their statistics on these; a restored state needs shapes only.
    count = experiment.settings.init_examples if new else 1
    batch = sharding.shard_batch(init_examples.first_clips(data, count), mesh)
    shapes, shardings = abstract_state(experiment, batch, mesh)
    if jax.default_backend() != "cpu":
        one = {
            k: jax.ShapeDtypeStruct((experiment.settings.batch_size, *v.shape[1:]), v.dtype)
            for k, v in batch.items()
        }
        method = precision.with_float32_fallback(
            experiment.method, shapes.params, shapes.state, one
        )
        experiment = experiment._replace(method=method)
    if not new:
        ts = checkpoint.restore(checkpoints, shapes, shardings, train)
        assert ts is not None  # There is a checkpoint.
        return experiment, ts, shardings
    ts, line = initialize(experiment, data, batch, shardings)
    print_on_process_zero(line)
    return experiment, ts, shardings


def initialize(
    experiment: Experiment, data: dict[str, Any], batch: Batch, shardings
) -> tuple[TrainState, str]:
    """Returns (the state at step 0, a line on what config.init_from gave or should have, or "").

    Args:
      experiment: the parts of the run.
      data: arguments of `pipeline.train_batches`.
      batch: the examples of the initialization, on the devices.
      shardings: of the TrainState.
    """
    init = jit_init(experiment, shardings)
    ts = init(run_key(experiment), batch)
    method = experiment.method
    if not (start := experiment.config.get("init_from")):
        return ts, init_from.describe_missing(ts, method.inherits)
    ts, line = init_from.apply(ts, start, method.inherits, data["source"], method.inherited_nets)
    restart = jax.jit(experiment.optimizer.init, out_shardings=shardings.opt)
    return dataclasses.replace(ts, opt=restart(ts.params)), line


def jit_init(experiment: Experiment, shardings) -> Callable[[Array, Batch], TrainState]:
    """Returns the compiled function of `make_init`; shardings: of the TrainState."""
    options = CPU_COMPILER_OPTIONS if jax.default_backend() == "cpu" else None
    return jax.jit(make_init(experiment), out_shardings=shardings, compiler_options=options)


def untrained_nets(experiment: Experiment, data: dict[str, Any], mesh, shardings) -> TrainState:
    """Makes the state at step 0 again, without that of the optimizer.

    Args: as of `initialize`, and the device mesh.
    """
    clips = init_examples.first_clips(data, experiment.settings.init_examples)
    ts, _ = initialize(experiment, data, sharding.shard_batch(clips, mesh), shardings)
    return dataclasses.replace(ts, opt=())
