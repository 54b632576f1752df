"""Exact rankings of a gallery by cosine, split over devices: ranks of relevant rows, neighbors.

Each device holds its own rows of the gallery and compares them with a block of queries.  Scores are
those of `exact_cosine`, so results are equal for any block, number of devices and order of rows.
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

from avjax.ops.exact_cosine import LOWEST, exact_scores, fixed_point, top_k
from avjax.runtime import sharding

CELLS = 2**23  # Scores per device at a time.


class Ranks(NamedTuple):
    """Where the relevant rows of the gallery stand, best first; -1 beyond their number.

    Attributes:
      above: int32 [Q, R], rows with a higher cosine than the relevant one.
      through: int32 [Q, R], rows with an equal or higher one: if there is no tie, its rank.
    """

    above: np.ndarray
    through: np.ndarray


class Neighbors(NamedTuple):
    """The k nearest rows of the gallery.

    Attributes:
      score: int32 [Q, k], cosines in multiples of 2^-29, highest first.
      label: int32 [Q, k].
      above: int32 [Q], rows with a higher cosine than the k-th.
      tied: int32 [Q, C], of each class, rows with the cosine of the k-th; 0 if all are among the k.
    """

    score: np.ndarray
    label: np.ndarray
    above: np.ndarray
    tied: np.ndarray


def relevant_ranks(
    query: np.ndarray,
    key: np.ndarray,
    query_label: np.ndarray,
    key_label: np.ndarray,
    own: np.ndarray | None = None,
    cells: int = CELLS,
) -> Iterator[tuple[slice, Ranks]]:
    """Ranks the rows of the gallery that have the label of the query.

    Args:
      query, key: float [Q, D] and [K, D], of any length.
      query_label, key_label: int [Q] and [K], 0 or more.
      own: int [Q], row of the gallery that is the query itself and does not count; None for none.
      cells: scores per device at a time.

    Yields:
      (queries, their Ranks), block by block.
    """
    own = np.full(len(query), -1) if own is None else own
    most = int(np.bincount(key_label).max())
    rows = (fixed_point(query), query_label.astype(np.int32), own.astype(np.int32))
    padding = (0, -2, -1)
    for block, found in _blocks(_ranks, (most,), rows, padding, key, key_label, cells):
        yield block, Ranks(*found)


def nearest(
    query: np.ndarray,
    key: np.ndarray,
    key_label: np.ndarray,
    k: int,
    classes: int,
    cells: int = CELLS,
) -> Iterator[tuple[slice, Neighbors]]:
    """Finds the rows of the gallery with the highest cosine.

    Args:
      query, key: float [Q, D] and [K, D], of any length.
      key_label: int [K], 0 or more.
      k: neighbors, at most K.
      classes: C, number of classes.
      cells: scores per device at a time.

    Yields:
      (queries, their Neighbors), block by block.
    """
    rows, padding = (fixed_point(query),), (0,)
    for block, found in _blocks(_nearest, (k, classes), rows, padding, key, key_label, cells):
        yield block, Neighbors(*found)


def _blocks(search, options, rows, padding, key, key_label, cells):
    """Yields (slice, arrays) of `search` for blocks of queries."""
    mesh = _mesh()
    gallery = [
        _place(mesh, P(sharding.AXES), _pad(value, -len(key) % mesh.size, fill))
        for value, fill in ((fixed_point(key), 0), (key_label.astype(np.int32), -1))
    ]
    size, held = len(rows[0]), len(gallery[0]) // mesh.size
    # Powers of two: few shapes to compile.
    each = min(1 << (size - 1).bit_length(), 1 << max(0, (cells // held).bit_length() - 1))
    compiled = _compiled(search, options, len(rows), mesh)
    for start in range(0, size, each):
        block = slice(start, min(start + each, size))
        lacking = start + each - block.stop
        part = [_place(mesh, P(), _pad(x[block], lacking, fill)) for x, fill in zip(rows, padding)]
        yield block, [np.asarray(x)[: each - lacking] for x in compiled(*part, *gallery)]


@functools.cache
def _compiled(search, options, num_rows, mesh):
    """`search` for queries that all devices have and a gallery split over them."""
    spread = jax.shard_map(
        functools.partial(search, *options),
        mesh=mesh,
        in_specs=(P(),) * num_rows + (P(sharding.AXES),) * 2,
        out_specs=P(),
        check_vma=False,  # The loops start from constants.
    )
    return jax.jit(spread)


def _mesh() -> Mesh:
    """The mesh of the context, or one of all devices."""
    mesh: Any = jax.sharding.get_mesh()
    return sharding.mesh() if mesh.empty else mesh


def _place(mesh, spec, value):
    """A global array of a value that all hosts have."""
    place = NamedSharding(mesh, spec)
    return jax.make_array_from_callback(value.shape, place, value.__getitem__)


def _pad(value, count, fill):
    """`value` with `count` more rows."""
    return np.pad(value, ((0, count),) + ((0, 0),) * (value.ndim - 1), constant_values=fill)


def _ranks(most, query, query_label, own, key, key_label):
    """(above, through) [B, most] of the relevant rows, from the rows of this device."""
    held = len(key)
    here = lax.axis_index(sharding.AXES) * held + jnp.arange(held)
    counts = (key_label >= 0)[None] & (own[:, None] != here[None])
    scores = jnp.where(counts, exact_scores(query, key), LOWEST)
    relevant = jnp.where(key_label[None] == query_label[:, None], scores, LOWEST)
    best, _ = top_k(relevant, min(most, held))
    best, _ = top_k(lax.all_gather(best, sharding.AXES, axis=1, tiled=True), most)
    ordered, found = jnp.sort(scores, axis=1), best > LOWEST

    def count_from(side):
        first = jax.vmap(functools.partial(jnp.searchsorted, side=side))(ordered, best)
        return jnp.where(found, lax.psum(held - first, sharding.AXES), -1)

    return count_from("right"), count_from("left")


def _nearest(k, classes, query, key, key_label):
    """The Neighbors of a block, from the rows of this device."""
    scores = jnp.where((key_label >= 0)[None], exact_scores(query, key), LOWEST)
    best, places = top_k(scores, min(k, len(key)))
    best, label = (
        lax.all_gather(x, sharding.AXES, axis=1, tiled=True) for x in (best, key_label[places])
    )
    best, places = top_k(best, k)
    label = jnp.take_along_axis(label, places, axis=1)
    equal = scores == best[:, -1:]
    above = lax.psum((scores > best[:, -1:]).sum(axis=1), sharding.AXES)
    beyond = above + lax.psum(equal.sum(axis=1), sharding.AXES) > k
    tied = lax.cond(
        beyond.any(),
        lambda: (
            jax.ops.segment_sum((equal & beyond[:, None]).T.astype(jnp.int32), key_label, classes).T
        ),
        lambda: jnp.zeros((len(query), classes), jnp.int32),
    )
    return best, label, above, lax.psum(tied, sharding.AXES)
