"""A run's TrainState: how it is initialized, its shapes without computing it, its shardings."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from avjax.runtime import sharding
from avjax.types import Array, Batch, Method, TrainState, Tree


def initializer(
    method: Method, optimizer: optax.GradientTransformation, size: int
) -> Callable[[Array, Batch], TrainState]:
    """A function (rng, batch) -> TrainState at step 0.

    Args:
      size: number of examples in the training source.
    """

    def init(rng, batch):
        rng, rng_init = jax.random.split(rng)
        params, state = method.init(rng_init, batch, size)
        return TrainState(jnp.zeros((), jnp.int32), rng, params, optimizer.init(params), state)

    return init


def abstract(init: Callable, rng: Array, batch: Batch, mesh, rules) -> tuple[TrainState, Tree]:
    """(shapes of the state that `init` makes, their shardings); nothing is computed or compiled.

    Args:
      init: as `initializer` returns it.
      batch: arrays or shapes [B, ...].
      rules: config.sharding, see `sharding.place`.
    """
    shapes = jax.eval_shape(init, rng, batch)
    return shapes, sharding.place(shapes, mesh, rules)
