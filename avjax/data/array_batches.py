"""Batches of a source with `RecordArrays`: as of `pipeline`, but a whole batch at a time."""

import contextlib
import functools
from collections.abc import Callable, Generator, Iterable

import numpy as np

from avjax.data import record_arrays
from avjax.data.clip_list import ClipList
from avjax.data.clip_sampling import ClipSampler
from avjax.data.source import Source
from avjax.data.workers import prefetch


def check_parts(source: Source, sampler: ClipSampler, transforms: Iterable[Callable]) -> None:
    """Raises ValueError if clips are to be cut out of vectors, or transformed."""
    if sampler.num_frames or sampler.num_samples or sampler.num_clips != 1 or sampler.varies:
        raise ValueError(
            f"{source.name} holds vectors: use dict(fn='avjax.data.clip_sampling.stored') as "
            "clip_sampler"
        )
    if tuple(transforms):
        raise ValueError(f"{source.name} holds vectors, which no transform takes: transforms=()")


def train_batches(
    source: Source,
    batch_size: int,
    seed: int,
    start: int,
    stop: int,
    shard: tuple[int, int],
    repeats: int,
    order_of: Callable,
    rows_only: bool,
) -> Generator[dict[str, np.ndarray], None, None]:
    """Yields this host's part of the batches of steps start, ..., stop - 1.

    Records and their order are those of `pipeline.train_batches` for sources that are decoded; a
    record with several clips gives a random one.

    Args:
      source: with arrays.
      order_of: (seed, epoch, size, repeats) -> the rows of an epoch in order.
      rows_only: see `record_arrays.batch_of`.
      others: as of `pipeline.train_batches`.
    """
    labels = _labels(source)
    load = functools.partial(
        _train_batch, source, labels, batch_size, seed, shard, repeats, order_of, rows_only
    )
    return _iterate(load, start, stop, batch_size // shard[1])


def _train_batch(
    source, labels, batch_size, seed, shard, repeats, order_of, rows_only, step, blocked, heartbeat
):
    """(the batch of a step, [])."""
    del blocked, heartbeat  # No record is unreadable.
    epoch, batch = divmod(step, repeats * len(source) // batch_size)
    order = order_of(seed, epoch, len(source), repeats)
    index = order[batch * batch_size : (batch + 1) * batch_size]
    # Clips are drawn for the global batch, so that they are the same for any number of hosts.
    clip = record_arrays.sample_clips(source.arrays, index, np.random.default_rng([seed, step]))
    host_size = batch_size // shard[1]
    own = slice(shard[0] * host_size, (shard[0] + 1) * host_size)
    return record_arrays.batch_of(source.arrays, clip[own], index[own], labels, rows_only), []


def eval_batches(
    source: Source, host_batch_size: int, shard: tuple[int, int], clips: ClipList
) -> Generator[dict[str, np.ndarray], None, None]:
    """Yields the clips of all records once, as `pipeline.eval_batches` does.

    Args:
      source: with arrays.
      host_batch_size: rows of a host's batch.
      shard: (host, number of hosts).
      clips: all of them, as `list_clips` returns them.
    """
    share = -(-len(clips.row) // shard[1])
    span = shard[0] * share, min((shard[0] + 1) * share, len(clips.row))
    load = functools.partial(_eval_batch, source, _labels(source), clips, span, host_batch_size)
    return _iterate(load, 0, -(-share // host_batch_size), host_batch_size)


def _eval_batch(source, labels, clips, span, size, number, blocked, heartbeat):
    """(a batch, []), padded to `size` rows with mask False."""
    del blocked, heartbeat
    at = np.arange(span[0] + number * size, min(span[0] + (number + 1) * size, span[1]))
    batch = record_arrays.batch_of(source.arrays, at, clips.row[at], labels, rows_only=False)
    batch["clip"] = clips.first[at]
    short = size - len(at)
    return {name: _pad(value, short) for name, value in batch.items()}, []


def _pad(value, count):
    return np.concatenate([value, np.zeros((count, *value.shape[1:]), value.dtype)])


def _labels(source):
    records = source.records
    if isinstance(records, record_arrays.NumberedRecords):
        return records.label
    return np.array([record.get("label", -1) for record in records], np.int32)


def _iterate(load, start, stop, rows):
    """Calls `load` for each number ahead of time, in threads."""
    batches = prefetch.iter_batches(load, start, stop, 1, rows, workers=0)
    with contextlib.closing(batches):
        for batch, _ in batches:
            assert batch is not None
            yield batch
