"""Calls a function for many numbers ahead of time, in threads or in processes, and joins batches.

It knows nothing of media or of records.  `function(number, blocked, heartbeat)` is as in
avjax.data.workers.pool, which provides its processes.
"""

import atexit
import contextlib
import os
import threading
from collections.abc import Callable, Generator

import cv2
import numpy as np

from avjax.data.workers import malloc
from avjax.data.workers.pool import MEMORY_LIMIT, TIMEOUT, pool  # noqa: F401 (this is their door)


def iter_batches(
    example: Callable,
    first: int,
    last: int,
    count: int,
    num_rows: int,
    workers: int,
    timeout: float = TIMEOUT,
    memory_limit: int = MEMORY_LIMIT,
) -> Generator[tuple[dict[str, np.ndarray] | None, list], None, None]:
    """Iterates over (batch, notes): `count` examples each, joined to `num_rows` rows.

    The output is the same for any number of workers.  Closing the iterator ends its threads and
    processes.

    Args:
      example: a function as above that returns a dictionary of arrays (or None) and a list of
        notes.
      first, last: the numbers first, ..., last - 1.
      count: examples per batch.
      num_rows: rows per batch; missing ones are zeros.
      workers: processes; 0 for one thread per core within this process.
      timeout, memory_limit: see avjax.data.workers.pool.
    """
    # Late, since Grain imports JAX where it is installed; avjax.data itself does not.
    import grain

    cv2.setNumThreads(1)
    malloc.retain_freed_memory()
    stopped, threads = threading.Event(), workers or num_cores()
    stack = contextlib.ExitStack()
    call = lambda number: example(number, {}, lambda key: None)

    def load(number):
        if stopped.is_set():  # Else closing would wait for a batch that is not needed.
            raise RuntimeError("the iterator is closed")
        return call(number)

    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    data = grain.MapDataset.range(first, last).map(load).to_iter_dataset(options)
    data = data.batch(count, batch_fn=lambda examples: _concatenate(num_rows, examples))
    # Joining copies a batch: done by a thread, so that the caller does not wait.
    data = grain.experimental.ThreadPrefetchIterDataset(data, prefetch_buffer_size=2)
    iterators = [iter(data)]

    def close():
        """Leaves nothing to do for Grain's destructors, which fail when a program ends."""
        stopped.set()
        stack.close()
        iterators.pop().close()
        atexit.unregister(close)

    atexit.register(close)  # For programs that end without closing a generator of theirs.
    try:
        if workers:
            call = stack.enter_context(pool(example, workers, timeout, memory_limit))
        while (batch := next(iterators[0], None)) is not None:
            yield batch
    finally:
        if iterators:
            close()


def _concatenate(num_rows, examples):
    """Examples -> one batch of at least `num_rows` rows, padded with zeros, and all their notes."""
    notes = [note for _, example_notes in examples for note in example_notes]
    examples = [example for example, _ in examples]
    if any(example is None for example in examples):
        return None, notes
    batch = {}
    for name in examples[0]:
        parts = [example[name] for example in examples]
        shapes = {part.shape[1:] for part in parts}
        if len(shapes) > 1:
            raise ValueError(
                f"clips of different sizes in a batch, {name} {sorted(shapes)}: let the transforms "
                "end in one size, e.g. with avjax.data.transforms.video.apply_on_host(size)"
            )
        missing = max(0, num_rows - sum(len(part) for part in parts))
        padding = np.zeros((missing, *parts[0].shape[1:]), parts[0].dtype)
        batch[name] = np.concatenate([*parts, padding] if missing else parts)
    return batch, notes


def num_cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
