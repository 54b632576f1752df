"""Sharding: batches are split over all devices, the state as rules say."""

import contextlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

from avjax.runtime import distributed
from avjax.types import Batch, Tree

# A batch is split over both; the state over the axes that config.sharding_rules name.
AXES = ("data", "fsdp")

Rules = Sequence[tuple[str, tuple | str]]


def mesh(devices: Sequence[Any] | None = None, fsdp: int = 1) -> Mesh:
    """Makes a mesh of all devices with the axes "data" and "fsdp".

    Args:
      devices: of the mesh; None for all devices of all hosts.
      fsdp: config.fsdp, the size of the second axis.

    Raises:
      ValueError: it does not divide the number of devices.
    """
    devices = devices or jax.devices()
    if len(devices) % fsdp:
        raise ValueError(
            f"config.fsdp={fsdp} must divide the number of devices ({len(devices)}): use "
            f"--config.fsdp={math.gcd(fsdp, len(devices))}"
        )
    return jax.make_mesh(
        (len(devices) // fsdp, fsdp),
        AXES,
        axis_types=(jax.sharding.AxisType.Auto,) * len(AXES),
        devices=devices,
    )


def shardings_from_rules(tree: Tree, mesh: Mesh, rules: Rules) -> Tree:
    """Returns the sharding of each leaf of `tree`, by the first rule that matches its path.

    Args:
      tree: arrays or shapes.
      mesh: the device mesh.
      rules: ((regex, axes), ...); a path is e.g. "state/memory/video".  Axes are those of a
        PartitionSpec, or the name of one axis: then the largest dimension that its size divides is
        split over it, and an array with fewer than two dimensions, or without such a dimension, is
        on every device.

    Raises:
      ValueError: no rule matches, a rule is invalid, a leaf cannot be split that way, or the mesh
        has several devices along "fsdp" and nothing is split over them.
    """

    def one(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        for pattern, axes in rules:
            if re.search(pattern, name):
                return _leaf_sharding(name, leaf, mesh, axes)
        raise ValueError(f"no sharding rule for {name}: end config.sharding_rules with ('.*', ())")

    for pattern, _ in rules:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
    found = jax.tree_util.tree_map_with_path(one, tree)
    if mesh.shape["fsdp"] > 1 and not any("fsdp" in jax.tree.leaves(axes) for _, axes in rules):
        raise ValueError(
            f"no rule splits over 'fsdp', and config.fsdp={mesh.shape['fsdp']}: end them with "
            "('.*', 'fsdp')"
        )
    return found


def _leaf_sharding(name, leaf, mesh, axes):
    """Returns the sharding of a leaf over `axes`; ValueError if its shape cannot be split."""
    if invalid := [axis for axis in jax.tree.leaves(axes) if axis not in mesh.axis_names]:
        raise ValueError(
            f"{name}: no mesh axis {invalid[0]!r}; there is {', '.join(mesh.axis_names)}"
        )
    if isinstance(axes, str):
        axes = _split_largest(leaf.shape, axes, mesh.shape[axes])
    # Lists: the config is from a file of JSON.
    place = NamedSharding(mesh, P(*(tuple(a) if isinstance(a, list) else a for a in axes)))
    try:
        if len(axes) > len(leaf.shape):
            raise ValueError("more axes than dimensions")
        place.shard_shape(leaf.shape)
    except ValueError as error:
        raise ValueError(
            f"{name} of shape {leaf.shape} cannot be split as {axes}: {error}"
        ) from error
    return place


def _split_largest(shape, axis, size):
    """Returns the axes that split the largest dimension which `size` divides, the last of equal."""
    able = [n for n, length in enumerate(shape) if length % size == 0]
    if len(shape) < 2 or size == 1 or not able:
        return ()
    largest = max(able, key=lambda n: (shape[n], n))
    return (*[None] * largest, axis)


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays that every device holds completely."""
    return NamedSharding(mesh, P())


def shard_batch(batch: Mapping[str, np.ndarray | jax.Array], mesh: Mesh) -> Batch:
    """Makes global arrays of this host's slice of a batch.

    Args:
      batch: arrays [B / hosts, ...]; those that are on the devices already stay as they are.
      mesh: the device mesh.

    Returns:
      arrays [B, ...], split over the devices.
    """
    split = NamedSharding(mesh, P(AXES))
    return {
        k: v if isinstance(v, jax.Array) else jax.make_array_from_process_local_data(split, v)
        for k, v in batch.items()
    }


def abstract_batch(batch: Mapping[str, Any], rows: int, mesh: Mesh) -> dict[str, Any]:
    """Returns the shapes and shardings of a global batch with `rows` rows, as of `shard_batch`.

    Args:
      batch: arrays or shapes [B, ...].
      rows: of the result, a multiple of the devices.
      mesh: the device mesh.
    """
    split = NamedSharding(mesh, P(AXES))
    return {
        k: jax.ShapeDtypeStruct((rows, *v.shape[1:]), v.dtype, sharding=split)
        for k, v in batch.items()
    }


def abstract_tree(shapes: Tree, shardings: Tree) -> Tree:
    """Returns the shapes of a tree with their shardings, for tracing ahead of time."""
    return jax.tree.map(
        lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes, shardings
    )


@contextlib.contextmanager
def process_zero_first(name: str) -> Iterator[None]:
    """Runs the block in process 0 before the others start it, so they reuse its files.

    Args:
      name: of the block, equal in all processes.
    """
    others = jax.process_index() > 0
    if others:
        barrier(name)
    try:
        yield
    finally:  # Also after an error, which the others then raise themselves.
        if not others:
            barrier(name)


def barrier(name: str) -> None:
    """Waits for all processes, not on the devices: there Gloo gives up after 30 s.

    Args:
      name: equal in all processes.
    """
    if group := distributed.current():
        group.barrier()
    elif jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def integers_of_process_zero(values: Sequence[int]) -> list[int]:
    """Returns the values of process 0, in all processes; of more than 64 the last ones.

    Args:
      values: integers from 0 below 2^31.
    """
    if jax.process_count() == 1:
        return list(values)
    table = np.full(64, -1, np.int32)
    table[: len(values)] = values[-64:]
    found = multihost_utils.broadcast_one_to_all(table)
    return [int(value) for value in found if value >= 0]


def broadcast_from_process_zero(flag: bool) -> bool:
    """Returns the value of `flag` in process 0, so that all processes decide alike."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.broadcast_one_to_all(flag))
