"""Exact nearest neighbors of each row of a memory, split over devices."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P

from avjax.ops.scores import precise_einsum
from avjax.runtime import sharding
from avjax.types import Array

# Name -> (modalities, how their two similarities are combined).
CRITERIA = {
    "consensus": (("video", "audio"), jnp.minimum),  # Similar in both.
    "union": (("video", "audio"), jnp.maximum),  # Similar in either.
    "video": (("video",), None),
    "audio": (("audio",), None),
}


def top_k_rows(
    rows: dict[str, Array],
    size: Array,
    count: int,
    criterion: str,
    block: int = 1024,
    tile: int = 8192,
    axis: str | tuple[str, ...] = sharding.AXES,
) -> Array:
    """The rows most similar to each row of a memory, itself excluded.

    Never more than [block, tile] scores are in memory.  Each device holds only its own rows,
    compares them with a block of all devices' queries, and sends each its best `count`.  As the
    positive sets of AVID-CMA (Morgado et al., CVPR 2021, https://arxiv.org/abs/2004.12943).

    Args:
      rows: {modality: float [N, D]} of unit length.
      size: only the first `size` rows count.
      count: neighbors per row.
      criterion: a key of CRITERIA: which modalities, and how their similarities are combined.
      block, tile: maximum number of rows compared at a time.
      axis: mesh axes over which the rows, and the result, are split, if there is a mesh.

    Returns:
      int32 [N, count], ascending.
    """
    modalities, combine = CRITERIA[criterion]
    banks = tuple(rows[m] for m in modalities)
    search = functools.partial(_search, count, combine, block, tile)
    axes = (axis,) if isinstance(axis, str) else axis
    if set(axes) <= set(jax.sharding.get_abstract_mesh().axis_names):
        # Without the check of replication, as the loops start from constants.
        search = functools.partial(search, axis)
        spread = jax.shard_map(search, in_specs=(P(axis), P()), out_specs=P(axis), check_vma=False)
        return spread(banks, size)
    search = functools.partial(search, "one device")
    one = jax.vmap(search, in_axes=(0, None), axis_name="one device")
    return one(tuple(bank[None] for bank in banks), size)[0]


def _search(count, combine, block, tile, axis, banks, size):
    """Neighbors of the rows [R, D] of this device."""
    devices, held = lax.axis_size(axis), len(banks[0])
    first, each = lax.axis_index(axis) * held, max(1, min(block // devices, held))

    def answer(start):
        own = jnp.minimum(start + jnp.arange(each), held - 1)
        everybody = functools.partial(lax.all_gather, axis_name=axis, tiled=True)
        queries = [everybody(bank[own]) for bank in banks]
        best = _best(count, combine, tile, queries, everybody(first + own), banks, first, size)
        # Each device gets the results of its own queries, in the order of the devices.
        scores, found = (
            jnp.moveaxis(lax.all_to_all(x.reshape(devices, each, count), axis, 0, 0), 0, 1).reshape(
                each, devices * count
            )
            for x in best
        )
        return jnp.sort(_top(scores, found, count)[1], axis=1)

    answers = lax.map(answer, jnp.arange(0, held, each))
    return answers.reshape(-1, count)[:held]


def _best(count, combine, tile, queries, slots, banks, first, size):
    """(scores, rows) [B, count] of the best rows of these banks, whose first row is `first`."""
    held, width = len(banks[0]), min(tile, len(banks[0]))

    def visit(best, start):
        local_rows = start + jnp.arange(width)
        keys = (bank[jnp.minimum(local_rows, held - 1)] for bank in banks)
        scores = [precise_einsum(query, key.T) for query, key in zip(queries, keys)]
        scores = functools.reduce(combine, scores) if combine else scores[0]
        global_rows = first + local_rows
        counts = (local_rows < held) & (global_rows < size)
        counts = counts[None] & (slots[:, None] != global_rows[None])
        scores = jnp.where(counts, scores, -jnp.inf)
        found = jnp.broadcast_to(global_rows[None], scores.shape)
        both = (jnp.concatenate(pair, axis=1) for pair in zip(best, (scores, found)))
        return _top(*both, count), None

    nothing = jnp.full((len(slots), count), -jnp.inf), jnp.zeros((len(slots), count), jnp.int32)
    return lax.scan(visit, nothing, jnp.arange(0, held, width))[0]


def _top(scores, found, count):
    """The `count` best scores of each line and their rows; the first of equal ones."""
    scores, places = lax.top_k(scores, count)
    return scores, jnp.take_along_axis(found, places, axis=1)
