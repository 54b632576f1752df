"""Where arrays live: batches are split over the devices, the rest follows rules."""

import contextlib
import re

import jax
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec as P


def mesh(devices=None):
    """All devices in one row, `data`."""
    devices = devices or jax.devices()
    return jax.make_mesh(
        (len(devices),), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=devices
    )


def place(tree, mesh, rules):
    """The sharding of each leaf of `tree`: of the first rule that its path matches.

    rules: ((regex, axes), ...), where axes are those of a PartitionSpec; a path is like
    `state/memory/video`.
    """

    def one(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        for pattern, axes in rules:
            if re.search(pattern, name):
                return _fitting(name, leaf, mesh, axes)
        raise ValueError(f"no sharding rule for {name}: end config.sharding with ('.*', ())")

    for pattern, _ in rules:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
    return jax.tree_util.tree_map_with_path(one, tree)


def _fitting(name, leaf, mesh, axes):
    """The sharding of a leaf over `axes`; ValueError where its shape cannot be split so."""
    if odd := [axis for axis in jax.tree.leaves(axes) if axis not in mesh.axis_names]:
        raise ValueError(f"{name}: no mesh axis {odd[0]!r}; there is {', '.join(mesh.axis_names)}")
    place = NamedSharding(mesh, P(*axes))
    try:
        if len(axes) > len(leaf.shape):
            raise ValueError("more axes than dimensions")
        place.shard_shape(leaf.shape)
    except ValueError as error:
        raise ValueError(
            f"{name} of shape {leaf.shape} cannot be split as {axes}: {error}"
        ) from error
    return place


def replicated(mesh):
    """The sharding of what every device holds whole."""
    return NamedSharding(mesh, P())


def put(batch, mesh):
    """A host's slice of a batch as global arrays, split over the devices."""
    split = NamedSharding(mesh, P("data"))
    return {k: jax.make_array_from_process_local_data(split, v) for k, v in batch.items()}


@contextlib.contextmanager
def process_zero_first(name: str):
    """A block that process 0 ends before the others begin it: they find the files it has made."""
    others = jax.process_index() > 0
    if others:
        multihost_utils.sync_global_devices(name)
    try:
        yield
    finally:  # After an error too, which the others then meet themselves.
        if not others and jax.process_count() > 1:
            multihost_utils.sync_global_devices(name)


def of_process_zero(flag: bool) -> bool:
    """`flag` as it is in process 0: what all must decide alike."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.broadcast_one_to_all(flag))
