"""The TrainState of a run: its initialization, shapes and shardings."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from avjax.runtime import sharding
from avjax.types import Array, Batch, Method, TrainState, Tree


def make_init(
    method: Method, optimizer: optax.GradientTransformation, size: int
) -> Callable[[Array, Batch], TrainState]:
    """Returns a function (rng, batch) -> TrainState at step 0.

    Args:
      method: the method.
      optimizer: an optax optimizer.
      size: number of examples in the training source.
    """

    def init(rng, batch):
        rng, rng_init = jax.random.split(rng)
        params, state = method.init(rng_init, batch, size)
        return TrainState(jnp.zeros((), jnp.int32), rng, params, optimizer.init(params), state)

    return init


def abstract_state(
    init: Callable, rng: Array, batch: Batch, mesh, rules
) -> tuple[TrainState, Tree]:
    """Returns (shapes, shardings) of the state that `init` returns; nothing is compiled.

    Args:
      init: as `make_init` returns it.
      rng: a key.
      batch: arrays or shapes [B, ...].
      mesh: the device mesh.
      rules: config.sharding_rules, see `sharding.shardings_from_rules`.
    """
    shapes = jax.eval_shape(init, rng, batch)
    return shapes, sharding.shardings_from_rules(shapes, mesh, rules)
