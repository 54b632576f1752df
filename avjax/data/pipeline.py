"""Batches that do not depend on the number of workers: (seed, step, slot) -> example.

The example in a slot of a step's global batch is a pure function of seed, step and slot: which
record, which seconds, which random numbers.  A host makes its own contiguous slots.  So the
state of the pipeline is one integer, the step, and hosts, workers and threads may change
between two runs without changing a batch.
"""

import contextlib
import functools
from collections.abc import Callable, Generator, Iterable

import numpy as np

from avjax.config import ranges
from avjax.data import (
    array_batches,
    clip_list as clip_lists,
    epoch_order,
    example as examples,
    unreadable_files,
)
from avjax.data.clip_list import ClipList
from avjax.data.clip_sampling import ClipSampler
from avjax.data.source import Source
from avjax.data.workers import prefetch

MAX_NO_AUDIO_REPLACEMENTS = 1000  # The same if records without audio are skipped: cheap.


def train_batches(
    source: Source,
    clip_sampler: ClipSampler,
    transforms: Iterable[Callable],
    batch_size: int,
    seed: int,
    start: int = 0,
    stop: int | None = None,
    shard: tuple[int, int] = (0, 1),
    workers: int | None = None,
    timeout: float = prefetch.TIMEOUT,
    memory_limit: int = prefetch.MEMORY_LIMIT,
    max_unreadable: float = 0.01,
    skip_no_audio: bool = False,
    needs_audio: bool = True,
    repeats: int = 1,
    order: Callable | None = None,
    on_error: Callable[[str, str], None] = unreadable_files.log_unreadable,
    on_skipped: Callable[[str, int, int], None] | None = None,
    rows_only: bool = False,
) -> Generator[dict[str, np.ndarray], None, None]:
    """Iterates over this host's part of the global batches of steps start, ..., stop - 1.

    Args:
      source: a Source.
      clip_sampler: a ClipSampler.
      transforms: functions (clip, rng) -> clip, applied in order.
      batch_size: rows of the global batch.  The num_clips clips of a record are consecutive
        rows, with the same index.  An epoch has as many whole batches as its order has places.
      seed: 0 or more.
      shard: (host, number of hosts).  Host h of H gets rows [h, h + 1) * batch_size / H.
      workers: decoding processes; 0 for one thread per core in this process; None for one
        process per core if files are decoded, and threads if the source reads otherwise.
      timeout: seconds per record for a process; then it is restarted and tries again, with
        twice the time.  A record that fails three times is unreadable.
      memory_limit: bytes that a process may use for its records; above, the same (Linux).
      max_unreadable: fraction of unreadable files at which the run stops.
      skip_no_audio: replaces records without audio, and does not count them as unreadable; no
        effect if clips have no audio.
      needs_audio: False also gives clips of records without audio, with silence, unless they
        are skipped; a method says whether its loss uses the audio of every clip.
      repeats: copies of the list of records that an epoch shuffles together: its order is a
        permutation of repeats * len(source) places, modulo len(source), new in each epoch.
        AVID (https://arxiv.org/abs/2004.12943) has 10 on Kinetics and 5 on AudioSet.  It
        matters to methods with a memory bank: with 1, the row of a record is about the oldest
        of the bank when the record comes.  With more, a batch may hold a record more than once.
        An order takes 4 bytes per place, and each process keeps two, which count towards its
        `memory_limit`: 80 MB for 2 million records x 5, each shuffled in about a second.
      order: (source) -> ((seed, epoch, size, repeats) -> int32 [repeats * size], the rows of an
        epoch in order); None is `epoch_order.epoch_order`.  `avjax.data.hard_batches` keeps
        similar records together.
      on_error: called with (path, reason) once for each unreadable file.
      on_skipped: called with (name of the source, records skipped, records read) once, after
        the batches of len(source) records or, with fewer steps, at the end; not if none was
        skipped.
      rows_only: of a source with arrays: the rows of the vectors in place of the vectors, int32
        [B], for arrays that are on the devices.

    Yields:
      {"video": uint8 [B, T, H, W, 3], "audio": int16 [B, N], "index": int32 [B],
      "label": int32 [B], "has_audio": bool [B], "mask": bool [B], ...}.

    Raises:
      ValueError: an argument is out of its range, or no batch can be formed.
      RuntimeError: too many files are unreadable.
    """
    host_batch_size = _host_batch_size(batch_size, shard)
    if clip_sampler.varies:
        raise ValueError(
            "the number of clips of this clip_sampler differs by record, which is for evaluation: "
            "train with avjax.data.clip_sampling.random"
        )
    ranges.check_integer("seed", seed, 0)
    ranges.check_loading(
        dict(
            repeats=repeats, max_unreadable=max_unreadable, workers=workers, timeout=timeout,
            memory_limit=memory_limit,
        )
    )  # fmt: skip
    if not isinstance(skip_no_audio, bool):
        raise ValueError(f"skip_no_audio={skip_no_audio!r}: use True or False")
    if host_batch_size % clip_sampler.num_clips:
        raise ValueError(
            f"{clip_sampler.num_clips} clips per record do not fit a host's batch of "
            f"{host_batch_size}: use a batch_size that is a multiple of "
            f"{clip_sampler.num_clips * shard[1]}"
        )
    host_records = host_batch_size // clip_sampler.num_clips  # Records of a host's batch.
    records = host_records * shard[1]
    if records > len(source):
        max_batch_size = len(source) // shard[1] * shard[1] * clip_sampler.num_clips
        raise ValueError(
            f"batch_size={batch_size} is more than the {len(source) * clip_sampler.num_clips} "
            f"clips of "
            f"{source.name}, {len(source)} records x {clip_sampler.num_clips}: "
            + (
                f"use --config.batch_size={max_batch_size} or less, or more data"
                if max_batch_size
                else "use more data"
            )
        )
    stop = 2**40 if stop is None else stop
    order_of = order(source) if order else epoch_order.epoch_order
    if source.arrays:
        array_batches.check_parts(source, clip_sampler, transforms)
        return array_batches.train_batches(
            source, batch_size, seed, start, stop, shard, repeats, order_of, rows_only
        )
    slots = shard[0] * host_records, host_records
    example = functools.partial(
        _train_example, source, clip_sampler, tuple(transforms), records, seed, slots, repeats,
        order_of, needs_audio or skip_no_audio, skip_no_audio,
    )  # fmt: skip
    workers = examples.num_workers(workers, source, clip_sampler, transforms)
    batches = functools.partial(
        prefetch.iter_batches, example, start * host_records, stop * host_records, host_records,
        host_batch_size, workers, timeout, memory_limit,
    )  # fmt: skip
    ignored = {examples.NO_AUDIO} if skip_no_audio else set()
    checked = unreadable_files.stop_if_too_many(batches, source, max_unreadable, ignored, on_error)
    return unreadable_files.report_skipped_records(
        checked, source, len(source) // records, on_skipped
    )


def eval_batches(
    source: Source,
    clip_sampler: ClipSampler,
    transforms: Iterable[Callable],
    batch_size: int,
    shard: tuple[int, int] = (0, 1),
    workers: int | None = None,
    timeout: float = prefetch.TIMEOUT,
    memory_limit: int = prefetch.MEMORY_LIMIT,
    on_error: Callable[[str, str], None] = unreadable_files.log_unreadable,
    clip_list: ClipList | None = None,
) -> Generator[dict[str, np.ndarray], None, None]:
    """Iterates once over the clips of all records, in batches of a fixed shape.

    The clips of a record are consecutive rows with the same index; "clip" is the number of each.
    They are rows of one batch, unless their number differs by record (`ClipSampler.varies`): then
    they may go on in the next batch, and files are opened once before, to count their clips.  Rows
    that pad a batch, and clips that cannot be read, have mask False.  All hosts get the same number
    of batches.  Random clips and transforms depend on the name of a file, see
    `clip_list.clip_rngs`, so that the order of the records and the size of batches change nothing.

    Args:
      clip_list: the clips of all records, if they are known already; see `clip_list.make`.
      others: as of `train_batches`.

    Yields:
      Batches as `train_batches` does, with "clip": int32 [B].

    Raises:
      ValueError: an argument is out of its range, or no batch can be formed.
    """
    host_batch_size = _host_batch_size(batch_size, shard)
    ranges.check_loading(dict(workers=workers, timeout=timeout, memory_limit=memory_limit))
    count = host_batch_size // clip_sampler.num_clips  # Examples of a batch.
    if count == 0:
        raise ValueError(
            f"{clip_sampler.num_clips} clips per record do not fit a host's batch of "
            f"{host_batch_size}: use a batch_size of at least {clip_sampler.num_clips * shard[1]}"
        )
    if source.arrays:
        array_batches.check_parts(source, clip_sampler, transforms)
        listed = clip_list or clip_lists.make(source, clip_sampler)
        return array_batches.eval_batches(source, host_batch_size, shard, listed)
    loading = timeout, memory_limit
    padding = examples.padding_example(clip_sampler, tuple(transforms), source)
    clips = clip_list or clip_lists.make(source, clip_sampler, workers, *loading)
    share = -(-len(clips.row) // shard[1])  # Examples of a host.
    span = shard[0] * share, min((shard[0] + 1) * share, len(clips.row))
    last = count * clip_lists.num_batches(clips, clip_sampler.num_clips, batch_size, shard[1])
    example = functools.partial(
        clip_lists.load, source, clip_sampler, tuple(transforms), padding, clips, span
    )
    workers = examples.num_workers(workers, source, clip_sampler, transforms)
    batches = functools.partial(
        prefetch.iter_batches, example, 0, last, count, host_batch_size, workers, *loading
    )
    return _report_errors(batches, on_error)


def _host_batch_size(batch_size, shard):
    host, hosts = shard
    ranges.check_integer("batch_size", batch_size, 1)
    if batch_size % hosts or not 0 <= host < hosts:
        raise ValueError(f"batch of {batch_size} cannot be split for host {host} of {hosts}")
    return batch_size // hosts


def _train_example(
    source, sampler, transforms, batch_size, seed, slots, repeats, order_of, require_audio,
    skip_no_audio, number, blocked, heartbeat,
):  # fmt: skip
    """Example `number` of this host, counted from step 0."""
    step, slot = number // slots[1], slots[0] + number % slots[1]
    epoch, batch = divmod(step, repeats * len(source) // batch_size)
    order = order_of(seed, epoch, len(source), repeats)
    position, errors, num_unreadable = batch * batch_size + slot, [], 0
    for attempt in range(MAX_NO_AUDIO_REPLACEMENTS):
        rng = np.random.default_rng([seed, step, slot, attempt])
        rngs = [rng, *rng.spawn(sampler.num_clips - 1)]
        if attempt:
            position = (batch + 1) * batch_size + epoch_order.replacement_offset(
                rng, slot, attempt, batch_size, len(order)
            )
        row = int(order[position % len(order)])
        clips, error = examples.load_example(
            source, row, sampler, transforms, rngs, require_audio, blocked, heartbeat
        )
        if error is None:
            return clips, errors
        errors.append(error)
        num_unreadable += not (skip_no_audio and error[2] == examples.NO_AUDIO)
        if num_unreadable == epoch_order.MAX_REPLACEMENTS:
            break
    return None, errors


def _report_errors(batches, on_error) -> Generator[dict[str, np.ndarray], None, None]:
    with contextlib.closing(batches()) as running:
        for batch, errors in running:
            for _, path, reason in errors:
                on_error(path, reason)
            assert batch is not None  # Records that cannot be read are padding.
            yield batch
