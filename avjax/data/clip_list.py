"""Which clips an evaluation reads: all of each record, in the order of the source.

An example is all clips of a record where each record has the same number, and a single clip where
the numbers differ: then files are opened once before, to count their clips.  So batches have a
fixed shape, a long file takes no more memory than a short one, and the list depends on nothing
but the records and the clip sampler.
"""

import functools
import hashlib
import json
import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from avjax.data import example as examples
from avjax.data.clip_sampling import ClipSampler
from avjax.data.media.media_file import MediaError
from avjax.data.source import Source
from avjax.data.workers import prefetch

COUNTED_AT_ONCE = 256  # Records.


class ClipList(NamedTuple):
    """The E examples of an evaluation of N records.

    Attributes:
      row: int32 [E], the record of each example.
      first: int32 [E], its first clip among those of the record.
      counts: int32 [N], clips of each record; 1 of a record that cannot be read.
      unreadable: {row: reason} of records that cannot be opened, if files were opened.
    """

    row: np.ndarray
    first: np.ndarray
    counts: np.ndarray
    unreadable: dict[int, str]


def make(
    source: Source,
    clip_sampler: ClipSampler,
    workers: int | None = None,
    timeout: float = prefetch.TIMEOUT,
    memory_limit: int = prefetch.MEMORY_LIMIT,
) -> ClipList:
    """Lists the clips of all records.

    Args:
      source: the records.
      clip_sampler: how clips are cut out of them.
      workers, timeout, memory_limit: as of `pipeline.eval_batches`.
    """
    size, unreadable = len(source), {}
    if source.arrays:
        return _list_stored(source.arrays.count)
    counts = np.full(size, clip_sampler.num_clips, np.int32)
    if not clip_sampler.varies:
        rows = np.arange(size, dtype=np.int32)
        return ClipList(rows, np.zeros_like(rows), counts, unreadable)
    batches = prefetch.iter_batches(
        functools.partial(_count_clips, source, clip_sampler), 0, size, COUNTED_AT_ONCE, 0,
        examples.num_workers(workers, source, clip_sampler, ()), timeout, memory_limit,
    )  # fmt: skip
    for batch, notes in batches:
        assert batch is not None  # Each record has a count.
        counts[batch["row"]] = batch["count"]
        unreadable |= dict(notes)
    rows = np.repeat(np.arange(size, dtype=np.int32), counts)
    first = np.concatenate([np.arange(count, dtype=np.int32) for count in counts])
    return ClipList(rows, first, counts, unreadable)


def _list_stored(counts: np.ndarray) -> ClipList:
    """Lists the clips of records with vectors, of which record i has counts[i]."""
    rows = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    first = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return ClipList(rows, first.astype(np.int32), counts, {})


def of_data(data: Mapping[str, Any]) -> ClipList:
    """Lists the clips of a data set.

    Args:
      data: arguments of `pipeline.eval_batches`; those of `make` are used.
    """
    names = ("source", "clip_sampler", "workers", "timeout", "memory_limit")
    return make(**{name: data[name] for name in names if name in data})


def _count_clips(source, sampler, row, blocked, heartbeat):
    """({"row", "count": [1]}, [(row, reason)] if the record cannot be read)."""
    counts, notes = [], []

    def sample(info, rng):
        counts.append(len(sampler.sample(info, rng)))
        return []  # So that nothing is decoded.

    if row in blocked:
        notes = [(row, blocked[row])]
    else:
        heartbeat(row)
        probe, rngs = sampler._replace(sample=sample), [np.random.default_rng(0)]
        try:
            if source.read:
                source.read(row, probe, rngs)
            else:
                examples.decode_clips(source[row], probe, rngs, False)
        except MediaError as error:
            notes = [(row, error.reason)]
    count = 1 if notes else min(counts, default=1)
    return {"row": np.array([row], np.int32), "count": np.array([count], np.int32)}, notes


def load(
    source: Source,
    sampler: ClipSampler,
    transforms: tuple,
    padding: dict[str, np.ndarray],
    clip_list: ClipList,
    span: tuple[int, int],
    number: int,
    blocked: Mapping[int, str],
    heartbeat,
) -> tuple[dict[str, np.ndarray], list[tuple[int, str, str]]]:
    """Returns (clips of an example, its errors); padding after the last, and if unreadable.

    Args:
      source, sampler, transforms: of the evaluation.
      padding: an example of zeros.
      clip_list: the examples.
      span: (first, last + 1) of the examples of this host.
      number: of the example, counted from the first of this host.
      blocked, heartbeat: as of `example.load_example`.
    """
    at = span[0] + number
    if at >= span[1]:
        zeros = np.zeros_like(padding["index"])
        return {**padding, "index": zeros, "clip": zeros}, []
    row, first = int(clip_list.row[at]), int(clip_list.first[at])
    count, record = int(clip_list.counts[row]), source[row]
    clip = np.arange(first, first + sampler.num_clips, dtype=np.int32)
    one = single_clip(sampler, first) if sampler.varies else sampler
    if row in clip_list.unreadable:
        clips, error = None, (row, record["path"], clip_list.unreadable[row])
    else:
        rngs = clip_rngs(record, clip.tolist())
        clips, error = examples.load_example(
            source, row, one, transforms, rngs, False, blocked, heartbeat
        )
    if error is None:
        assert clips is not None
        return {**clips, "clip": clip}, []
    if sampler.varies and count > 1:
        error = error[0], error[1], f"{error[2]} (clip {first + 1} of {count})"
    index = np.full_like(padding["index"], row)
    label = np.full_like(index, record.get("label", -1))
    return {**padding, "index": index, "label": label, "clip": clip}, [error]


def single_clip(sampler: ClipSampler, number: int) -> ClipSampler:
    """Returns a sampler of one clip of each record.

    Args:
      sampler: a ClipSampler.
      number: of the clip.  A record that has fewer counts as unreadable.
    """

    def sample(info, rng):
        starts = sampler.sample(info, rng)
        if number >= len(starts):
            raise MediaError("", f"has {len(starts)} clips, fewer than when they were counted")
        return [starts[number]]

    return sampler._replace(sample=sample, varies=False, num_clips=1)


def clip_rngs(record: dict, clips: list[int]) -> list[np.random.Generator]:
    """Returns a generator per clip, which depends on the file's name and the clip only.

    Random clips are the same for any order of the records, and in any folder.

    Args:
      record: a record of a Source.
      clips: numbers of the clips.
    """
    path = record.get("path", "")
    name = os.path.basename(path) if os.path.isabs(path) else path
    text = json.dumps([name, record.get("start"), record.get("end")])
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big")
    return [np.random.default_rng([seed, clip]) for clip in clips]


def num_batches(clip_list: ClipList, num_clips: int, batch_size: int, hosts: int = 1) -> int:
    """Returns the number of batches of each host.

    Args:
      clip_list: the examples.
      num_clips: clips of an example.
      batch_size: clips per batch of all hosts.
      hosts: number of hosts.
    """
    each = max(1, batch_size // hosts // num_clips)
    return math.ceil(math.ceil(len(clip_list.row) / hosts) / each)
