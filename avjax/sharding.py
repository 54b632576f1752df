"""Where arrays live: batches are split over the devices, the rest follows rules."""

import re

import jax
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
                return NamedSharding(mesh, P(*axes))
        raise ValueError(f"no sharding rule for {name}: end config.sharding with ('.*', ())")

    return jax.tree_util.tree_map_with_path(one, tree)


def replicated(mesh):
    """The sharding of what every device holds whole."""
    return NamedSharding(mesh, P())


def put(batch, mesh):
    """A host's slice of a batch as global arrays, split over the devices."""
    split = NamedSharding(mesh, P("data"))
    return {k: jax.make_array_from_process_local_data(split, v) for k, v in batch.items()}
