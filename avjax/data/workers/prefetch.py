"""Runs a function of a number on many numbers ahead of time, in threads or in processes.

It knows nothing of media or of records.  `function(number, barred, announce)` is as in
avjax.data.workers.pool, where its processes come from.
"""

import atexit
import contextlib
import os
import threading

import cv2
import numpy as np

from avjax.data.workers import malloc
from avjax.data.workers.pool import DEADLINE, MEMORY, check, pool  # noqa: F401 (this is their door)


def run(example, first, last, count, rows, workers, deadline=DEADLINE, memory=MEMORY):
    """Iterates over (batch, notes): `count` examples each, joined to `rows` rows.

    example: a function as above, which gives a pair, a dictionary of arrays (or None) and a
    list of notes, which travels beside the arrays whoever makes it.
    workers: processes; 0 for one thread a core within this process.  What comes out is the
    same.  Closing the iterator ends its threads and processes.
    """
    # Late, since Grain imports JAX where it is installed; avjax.data itself does not.
    import grain

    cv2.setNumThreads(1)
    malloc.keep()
    stopped, threads = threading.Event(), workers or cores()
    stack = contextlib.ExitStack()
    call = lambda number: example(number, {}, lambda key: None)

    def wanted(number):
        if stopped.is_set():  # Else closing would wait for a batch that nobody wants.
            raise RuntimeError("the iterator is closed")
        return call(number)

    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    data = grain.MapDataset.range(first, last).map(wanted).to_iter_dataset(options)
    data = data.batch(count, batch_fn=lambda examples: _join(rows, examples))
    # Joining copies a batch: done by a thread, so that nobody waits for it.
    data = grain.experimental.ThreadPrefetchIterDataset(data, prefetch_buffer_size=2)
    opened = [iter(data)]

    def close():
        """Leaves nothing to do for Grain's destructors, which fail when a program ends."""
        stopped.set()
        stack.close()
        opened.pop().close()
        atexit.unregister(close)

    atexit.register(close)  # For programs that end without closing a generator of theirs.
    try:
        if workers:
            call = stack.enter_context(pool(example, workers, deadline, memory))
        while (batch := next(opened[0], None)) is not None:
            yield batch
    finally:
        if opened:
            close()


def _join(rows, examples):
    """Examples -> one batch of at least `rows` rows, zeros at its end, and all their notes."""
    notes = [note for _, some in examples for note in some]
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
                "end in one size, e.g. with avjax.data.transforms.video.applied(size)"
            )
        missing = max(0, rows - sum(len(part) for part in parts))
        padding = np.zeros((missing, *parts[0].shape[1:]), parts[0].dtype)
        batch[name] = np.concatenate([*parts, padding] if missing else parts)
    return batch, notes


def cores():
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
