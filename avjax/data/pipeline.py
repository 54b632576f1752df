"""(seed, step, slot) -> example, many at a time: batches that no number of workers can change.

The example in a slot of a step's global batch is a pure function of the seed, the step
and the slot: which record, which seconds, which random numbers.  A host makes its own
contiguous slots.  So where a run stands in its data is one integer, the step, and
hosts, workers and threads may change between two runs without changing a batch.
"""

import contextlib
import functools
import logging

import numpy as np

from avjax.config import ranges
from avjax.data import example as examples, unreadable_files
from avjax.data.workers import prefetch as processes

ATTEMPTS = 20  # Replacements tried for one slot before the run stops.
SILENT_ATTEMPTS = 1000  # The same where records without sound are skipped, which is cheap.
LEAST = 2**26  # Bytes that a worker may be held to: with fewer it cannot decode anything.


def train(
    source,
    view,
    transforms,
    batch_size,
    seed,
    start=0,
    stop=None,
    shard=(0, 1),
    workers: int | None = None,
    deadline: float = processes.DEADLINE,
    memory: int = processes.MEMORY,
    max_broken: float = 0.01,
    skip_no_audio: bool = False,
    needs_audio: bool = True,
    repeats: int = 1,
    on_fault=unreadable_files.report,
    on_skipped=None,
):
    """Iterates over this host's part of the global batches of steps start, ..., stop - 1.

    Args:
      batch_size: rows of the global batch; the view.count clips of a record are consecutive
        ones, of the same index.  An epoch is as many whole batches as its order has places for.
      shard: (host, hosts).  Host h of H gets rows [h, h + 1) * batch_size / H.
      workers: processes that decode; 0 for one thread a core in this process; None for one
        process a core where files are decoded, and threads where the source reads otherwise.
      deadline: seconds that a process may take for one record, else it is started anew and
        tries again, with twice the time; a record that has had three of them is broken.
      memory: bytes that a process may take for its records, with the same end (Linux).
      max_broken: share of broken files at which the run stops.
      skip_no_audio: replace records without sound, and don't count them as broken; without
        effect where the view has no sound.
      needs_audio: False for clips of records without sound, too, with silence for audio, unless
        they are skipped; a method says whether its loss uses the sound of every clip.
      repeats: copies of the list of records that an epoch shuffles together: its order is a
        permutation of repeats * len(source) places, modulo len(source), and new in each epoch.
        AVID (https://arxiv.org/abs/2004.12943) has 10 on Kinetics and 5 on AudioSet.  It matters
        to methods with a memory bank: with 1, the row of a record is about the oldest of the bank
        when the record comes.  With more, a batch may hold a record more than once.  An order
        takes 4 bytes a place, and each process keeps two, out of its `memory`: 80 MB for 2 million
        records x 5, each shuffled in about a second.
      on_fault: called with (path, reason) once for each broken file.
      on_skipped: called with (name of the source, records skipped, records read) once, after
        the batches of len(source) records or, of fewer steps, at the end of the iteration; not
        if none was skipped.

    Raises:
      ValueError: for an argument out of its range, or a batch that cannot be formed.
    """
    share = _share(batch_size, shard)
    ranges.whole("seed", seed, 0)
    ranges.whole("repeats", repeats, 1)
    ranges.number("max_broken", max_broken, least=0, most=1)
    _limits(workers, deadline, memory)
    if not isinstance(skip_no_audio, bool):
        raise ValueError(f"skip_no_audio={skip_no_audio!r}: use True or False")
    if share % view.count:
        raise ValueError(
            f"{view.count} clips a record do not fit a host's batch of {share}: use a batch_size "
            f"that is a multiple of {view.count * shard[1]}"
        )
    each = share // view.count  # Records of a host's batch.
    records = each * shard[1]
    if records > len(source):
        most = len(source) // shard[1] * shard[1] * view.count
        raise ValueError(
            f"batch_size={batch_size} is more than the {len(source) * view.count} clips of "
            f"{source.name}, {len(source)} records x {view.count}: "
            + (f"use --config.batch_size={most} or less, or more data" if most else "use more data")
        )
    slots = shard[0] * each, each
    example = functools.partial(
        _train_example, source, view, tuple(transforms), records, seed, slots, repeats,
        needs_audio or skip_no_audio, skip_no_audio,
    )  # fmt: skip
    stop = 2**40 if stop is None else stop
    workers = _processes(workers, source, view, transforms)
    batches = functools.partial(
        processes.run, example, start * each, stop * each, each, share, workers, deadline, memory
    )
    ignored = {examples.NO_AUDIO} if skip_no_audio else set()
    watched = unreadable_files.watched(batches, source, max_broken, ignored, on_fault)
    return unreadable_files.counted(watched, source, len(source) // records, on_skipped)


def evaluate(
    source,
    view,
    transforms,
    batch_size,
    shard=(0, 1),
    workers: int | None = None,
    deadline: float = processes.DEADLINE,
    memory: int = processes.MEMORY,
    on_fault=unreadable_files.report,
):
    """Iterates once over the clips of all records, in batches of a fixed shape.

    The view.count clips of a record are consecutive rows of one batch, of the same
    index.  Rows that fill up a batch, and the clips of a file that cannot be read, have
    mask False.  All hosts get the same number of batches.
    """
    share = _share(batch_size, shard)
    _limits(workers, deadline, memory)
    records = share // view.count  # A batch.
    if records == 0:
        raise ValueError(
            f"{view.count} clips a record do not fit a host's batch of {share}: "
            f"use a batch_size of at least {view.count * shard[1]}"
        )
    each = -(-len(source) // shard[1])  # Records of a host.
    last = -(-each // records) * records
    blank = examples.blank(view, tuple(transforms))
    example = functools.partial(
        _eval_example, source, view, tuple(transforms), blank, shard[0] * each, each
    )
    workers = _processes(workers, source, view, transforms)
    batches = functools.partial(
        processes.run, example, 0, last, records, share, workers, deadline, memory
    )
    return _reported(batches, on_fault)


def _limits(workers, deadline, memory):
    if workers is not None:
        ranges.whole("workers", workers, 0)
    ranges.number("deadline", deadline, above=0)
    ranges.whole("memory", memory, LEAST)


def _share(batch_size, shard):
    host, hosts = shard
    ranges.whole("batch_size", batch_size, 1)
    if batch_size % hosts or not 0 <= host < hosts:
        raise ValueError(f"batch of {batch_size} cannot be shared out to host {host} of {hosts}")
    return batch_size // hosts


def _processes(workers, source, view, transforms):
    """How many processes decode: `workers`, or what is best for the source where that is None."""
    if workers == 0 or (workers is None and source.read):
        return 0
    try:
        processes.check((source.read, view, transforms))
    except ValueError as error:
        if workers is not None:
            raise
        logging.getLogger(__name__).warning("decoding in threads: %s", error)
        return 0
    return workers or processes.cores()


def _train_example(
    source, view, transforms, batch_size, seed, slots, repeats, strict, skip_no_audio,
    number, barred, announce,
):  # fmt: skip
    """Example `number` of this host, counted from step 0 on."""
    step, slot = number // slots[1], slots[0] + number % slots[1]
    epoch, batch = divmod(step, repeats * len(source) // batch_size)
    order = _order(seed, epoch, len(source), repeats)
    at, noted, broken = batch * batch_size + slot, [], 0
    for attempt in range(SILENT_ATTEMPTS):
        rng = np.random.default_rng([seed, step, slot, attempt])
        rngs = [rng, *rng.spawn(view.count - 1)]
        if attempt:
            at = (batch + 1) * batch_size + _neighbor(rng, slot, attempt, batch_size, len(order))
        row = int(order[at % len(order)])
        clips, fault = examples.attempt(
            source, row, view, transforms, rngs, strict, barred, announce
        )
        if fault is None:
            return clips, noted
        noted.append(fault)
        broken += not (skip_no_audio and fault[2] == examples.NO_AUDIO)
        if broken == ATTEMPTS:
            break
    return None, noted


def _neighbor(rng, slot, attempt, batch_size, size):
    """How far after a batch the replacement of a broken record lies, in its epoch's order.

    Slots take from places of their own, so that a batch does not hold a place of the order, of
    `size`, twice; where these are all broken or there are none, from outside the batch, at last
    from anywhere.
    """
    outside = size - batch_size
    rounds = outside // batch_size
    if rounds and attempt < ATTEMPTS // 2:
        return slot + batch_size * int(rng.integers(rounds))
    return int(rng.integers(size if attempt >= ATTEMPTS else outside or size))


@functools.lru_cache(maxsize=2)
def _order(seed, epoch, size, repeats):
    """The rows of the records in the order of an epoch: int32 [repeats * size], read-only.

    The fifth number sets the seed of an order apart from those of examples.
    """
    order = np.tile(np.arange(size, dtype=np.int32), repeats)
    np.random.default_rng([seed, epoch, 0, 0, 1]).shuffle(order)
    order.flags.writeable = False
    return order


def _eval_example(source, view, transforms, blank, first, each, number, barred, announce):
    """All clips of record `first + number`; blank past the host's last and if it is broken."""
    row = first + number
    if number >= each or row >= len(source):
        return {**blank, "index": np.zeros_like(blank["index"])}, []
    rngs = [np.random.default_rng([row, clip]) for clip in range(view.count)]
    clips, fault = examples.attempt(source, row, view, transforms, rngs, False, barred, announce)
    if fault is None:
        return clips, []
    index = np.full_like(blank["index"], row)
    label = np.full_like(index, source[row].get("label", -1))
    return {**blank, "index": index, "label": label}, [fault]


def _reported(batches, on_fault):
    with contextlib.closing(batches()) as running:
        for batch, noted in running:
            for _, path, reason in noted:
                on_fault(path, reason)
            yield batch
