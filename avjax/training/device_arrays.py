"""Vectors of all records on the devices: a step gathers its batch there, and hosts send rows."""

import contextlib
from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

from avjax.data import record_arrays
from avjax.data.record_arrays import RecordArrays
from avjax.ops import split_rows
from avjax.runtime import sharding
from avjax.types import Array, Batch

KEY = "arrays/{}".format  # Of a batch, beside the rows: the vectors that they are rows of.


class DeviceArrays(NamedTuple):
    """Vectors on the devices.

    Attributes:
      values: {modality: [R, D]}; R is padded to a multiple of the devices if they are divided.
      divided: whether each device holds a part of the rows; else each holds all.
    """

    values: dict[str, jax.Array]
    divided: bool


def place(arrays: RecordArrays | None, mesh: Mesh) -> DeviceArrays | None:
    """Copies the vectors to the devices; None if they do not fit, or there are none.

    Args:
      arrays: of the training source, with `device_bytes`.
      mesh: the device mesh.
    """
    if arrays is None:
        return None
    size = record_arrays.num_bytes(arrays)
    if size > arrays.device_bytes * mesh.size:
        return None
    divided = size > arrays.device_bytes
    placement = NamedSharding(mesh, P(sharding.AXES) if divided else P())

    def put(value):
        count = -(-len(value) // mesh.size) * mesh.size if divided else len(value)

        def part(where):
            first, last, _ = where[0].indices(count)
            rows = np.asarray(value[first:last])
            return np.pad(rows, ((0, last - first - len(rows)), (0, 0)))

        return jax.make_array_from_callback((count, value.shape[1]), placement, part)

    return DeviceArrays({name: put(value) for name, value in arrays.values.items()}, divided)


def with_arrays(
    batches: Generator[dict[str, np.ndarray], None, None], arrays: DeviceArrays
) -> Generator[Mapping[str, Any], None, None]:
    """Yields each batch with the vectors that its rows belong to, which are not copied."""
    shared = {KEY(name): value for name, value in arrays.values.items()}
    with contextlib.closing(batches):
        for batch in batches:
            yield {**batch, **shared}


def gathering(loss_fn: Callable, divided: bool) -> Callable:
    """Returns the loss of a method on batches of `with_arrays`.

    Args:
      loss_fn: as of `types.Method`.
      divided: see `DeviceArrays`.
    """
    take = _take_divided if divided else _take

    def loss(params, state, batch: Batch, rng):
        names = [name for name in batch if KEY(name) in batch]
        plain = {name: value for name, value in batch.items() if not name.startswith(KEY(""))}
        vectors = {name: take(batch[KEY(name)], batch[name]) for name in names}
        return loss_fn(params, state, plain | vectors, rng)

    return loss


def _take(values: Array, rows: Array) -> Array:
    """The rows of `values` as float32: each device takes its share from its own copy."""
    return values.at[rows].get(mode="promise_in_bounds").astype(jnp.float32)


def _take_divided(values: Array, rows: Array) -> Array:
    """`_take` of values that are divided among the devices."""
    return split_rows.take_rows(values, rows, sharding.AXES).astype(jnp.float32)
