"""Batches composed of neighbors, as an order of the records: hard negatives without a search.

B3: Thirukovalluru et al., 2025, https://arxiv.org/abs/2505.11293.  Vectors of a trained model say
which records are similar; groups of similar records stay together in the order of every epoch.
"""

import functools
from collections.abc import Callable

import numpy as np

from avjax.config import ranges
from avjax.data import vectors
from avjax.data.source import Source

BLOCK = 1024  # Queries whose neighbors are searched together.


def make(
    path: str,
    group_size: int,
    skip: int,
    neighbors: int,
    query: str = "video_embedding",
    key: str = "audio_embedding",
    match: str = "path",
) -> Callable[[Source], Callable[[int, int, int, int], np.ndarray]]:
    """Returns (source) -> the order of its records, for config.data.train.order.

    The search compares all records with all: N^2 D multiplications at the start of a run.

    Args:
      path: vectors of all records, see `avjax.data.vectors.read`; `python -m avjax.embed` writes
        such a file.
      group_size: records of a group; a divisor of the batch, so that groups stay whole.
      skip: so many nearest neighbors of a record are not sought for its group: they may be the same
        thing.
      neighbors: the next ones after `skip` that are sought.
      query, key: names of the vectors in the file; a record's neighbors are those whose key is
        most similar to its query.
      match: see `avjax.data.vectors.match`.

    Raises:
      ValueError: an argument is out of its range; from the order, a record has no vector.
    """
    ranges.check_integer("group_size", group_size, 2)
    ranges.check_integer("skip", skip, 0)
    ranges.check_integer("neighbors", neighbors, 1)

    def order(source: Source):
        names = [record["path"] for record in source.records]
        sides = []
        for column in (query, key):
            found = vectors.read(path, column)
            rows = np.asarray(vectors.match(found.names, names, match))
            if (rows < 0).any():
                raise ValueError(
                    f"config.data.train.order: {names[int(np.argmin(rows))]} has no vector in "
                    f"{path}: compute those of all records"
                )
            sides.append(found.values[rows])
        near = nearest(sides[0], sides[1], skip, neighbors)
        groups = group_neighbors(near, group_size).tobytes()
        return functools.partial(grouped_order, groups, group_size)

    return order


def stored(
    group_size: int, skip: int, neighbors: int, modality: str
) -> Callable[[Source], Callable[[int, int, int, int], np.ndarray]]:
    """`make` by the vectors of a source that has arrays, in one modality: no file is needed.

    Args:
      group_size, skip, neighbors: as in `make`.
      modality: whose vectors are compared; of several clips of a record, the first.

    Raises:
      ValueError: an argument is out of its range; from the order, the source has no such vectors.
    """
    ranges.check_integer("group_size", group_size, 2)
    ranges.check_integer("skip", skip, 0)
    ranges.check_integer("neighbors", neighbors, 1)

    def order(source: Source):
        arrays = source.arrays
        if arrays is None or modality not in arrays.values:
            raise ValueError(
                f"config.data.train.order: {source.name} has no vectors of {modality!r}: use "
                "avjax.data.hard_batches with a file of vectors"
            )
        x = np.asarray(arrays.values[modality][arrays.rows[modality][arrays.first]], np.float32)
        groups = group_neighbors(nearest(x, x, skip, neighbors), group_size).tobytes()
        return functools.partial(grouped_order, groups, group_size)

    return order


def nearest(query: np.ndarray, key: np.ndarray, skip: int, neighbors: int) -> np.ndarray:
    """The neighbors of each record by cosine, from the one after `skip` on.

    Args:
      query, key: float [N, D].
      skip, neighbors: as in `make`; the record itself does not count.

    Returns:
      int32 [N, neighbors].

    Raises:
      ValueError: there are not so many records.
    """
    if skip + neighbors >= len(query):
        raise ValueError(
            f"skip={skip} and neighbors={neighbors} of {len(query)} records: use fewer"
        )
    query, key = (
        np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12), np.float32)
        for x in (query, key)
    )
    found = np.empty((len(query), neighbors), np.int32)
    for start in range(0, len(query), BLOCK):
        scores = query[start : start + BLOCK] @ key.T
        scores[np.arange(len(scores)), start + np.arange(len(scores))] = -np.inf
        part = np.argpartition(-scores, skip + neighbors - 1, axis=1)[:, : skip + neighbors]
        ranked = np.argsort(-np.take_along_axis(scores, part, 1), axis=1, kind="stable")
        found[start : start + BLOCK] = np.take_along_axis(part, ranked, 1)[:, skip:]
    return found


def group_neighbors(near: np.ndarray, group_size: int) -> np.ndarray:
    """Divides the records into groups of neighbors.

    A group starts with the first record that is in none, and takes the record with most edges to
    it, either way; with none left, the next free record.

    Args:
      near: int [N, K], neighbors of each record.
      group_size: records of a group; the last group may have fewer.

    Returns:
      int32 [N], the records, group by group.
    """
    # Paper: METIS divides the graph with least cut edges.
    size, k = near.shape
    ends = near.reshape(-1), np.repeat(np.arange(size, dtype=near.dtype), k)
    by_end = np.argsort(ends[0], kind="stable")
    starts = np.searchsorted(ends[0][by_end], np.arange(size + 1))
    free, order, first = np.ones(size, bool), [], 0
    for _ in range(-(-size // group_size)):
        edges: dict[int, int] = {}
        for _ in range(min(group_size, size - len(order))):
            if edges:
                row = max(edges, key=edges.__getitem__)
                del edges[row]
            else:
                while not free[first]:
                    first += 1
                row = first
            free[row] = False
            order.append(row)
            linked = near[row], ends[1][by_end[starts[row] : starts[row + 1]]]
            for other in np.concatenate(linked)[free[np.concatenate(linked)]].tolist():
                edges[other] = edges.get(other, 0) + 1
    return np.array(order, np.int32)


@functools.lru_cache(maxsize=2)  # Each example of an epoch asks for it.
def grouped_order(
    groups: bytes, group_size: int, seed: int, epoch: int, size: int, repeats: int
) -> np.ndarray:
    """The order of an epoch with groups in random order, and random order within each.

    Args:
      groups: the bytes of `group_neighbors`.
      group_size: records of a group.
      seed, epoch, size, repeats: as of `epoch_order.epoch_order`.

    Returns:
      int32 [repeats * size], read-only; a last group that is smaller comes last.
    """
    rng, grouped = np.random.default_rng([seed, epoch, 0, 0, 1]), np.frombuffer(groups, np.int32)
    whole = size // group_size * group_size
    parts = []
    for _ in range(repeats):
        rows = rng.permuted(grouped[:whole].reshape(-1, group_size), axis=1)
        rng.shuffle(rows)
        parts += [rows.reshape(-1), grouped[whole:]]
    order = np.concatenate(parts)
    order.flags.writeable = False
    return order
