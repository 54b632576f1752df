"""Rows of a memory that is split over devices: only those that are asked for travel."""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P

from avjax.types import Array


def take_rows(rows: Array, index: Array, axis: str | tuple[str, ...]) -> Array:
    """`rows[index]`, bit-equal, in memory proportional to the result; gives no gradients.

    Each device asks the devices that hold its rows for a number of them, all devices at once, and
    again until all have theirs.  The number is such that random rows mostly come in one round.

    Args:
      rows: float [N, D], split over the devices.
      index: int [B, ...], rows, split likewise.
      axis: mesh axis, or axes, over which both are split.

    Returns:
      float [B, ..., D].

    Raises:
      ValueError: the current mesh has no such axis, or N or B cannot be split over it.
    """
    mesh, axes = jax.sharding.get_abstract_mesh(), (axis,) if isinstance(axis, str) else axis
    if not set(axes) <= set(mesh.axis_names):
        raise ValueError(f"axis={axis!r}: no mesh with this axis; call within jax.set_mesh(mesh)")
    devices = math.prod(mesh.shape[name] for name in axes)
    for name, count in (("rows", len(rows)), ("queries", len(index))):
        if count % devices:
            raise ValueError(f"axis={axis!r}: {count} {name} do not split over {devices} devices")
    take = functools.partial(_take_shard, axes, devices)
    take = jax.shard_map(take, in_specs=(P(axes), P(axes)), out_specs=P(axes), check_vma=False)
    return take(lax.stop_gradient(rows), index)


def _take_shard(axes, devices, rows, index):
    """The rows that this device asks for; it holds `rows`, and answers the others."""
    held, flat = len(rows), index.reshape(-1)
    order = jnp.argsort(flat)
    wanted = flat[order]  # Those of one holder are neighbors.
    edges = jnp.searchsorted(wanted, held * jnp.arange(devices + 1))
    starts, ends = edges[:-1, None], edges[1:, None]
    each = _round_size(len(flat), devices)
    most = lax.pmax((ends - starts).max(), axes)
    exchange = functools.partial(lax.all_to_all, axis_name=axes, split_axis=0, concat_axis=0)

    def ask(carry):
        done, out = carry
        places = starts + done + jnp.arange(each)[None]
        asked = places < ends
        places = jnp.minimum(places, len(flat) - 1)
        here = jnp.where(asked, wanted[places] % held, 0)
        answers = exchange(rows[exchange(here)])
        out = out.at[jnp.where(asked, order[places], len(flat))].set(answers, mode="drop")
        return done + each, out

    out = jnp.zeros((len(flat), rows.shape[1]), rows.dtype)
    _, out = lax.while_loop(lambda carry: carry[0] < most, ask, (0, out))
    return out.reshape(*index.shape, -1)


def _round_size(count, devices):
    """Rows that a device asks another one for in a round: six deviations above the mean."""
    mean = count / devices
    return min(count, math.ceil(mean + 6 * math.sqrt(mean)))
