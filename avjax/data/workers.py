"""Runs a function of a number on many numbers ahead of time, in threads or in processes.

It knows nothing of media or of records: `example(number)` gives a pair, a dictionary of
arrays (or None) and a list of notes, which travels beside the arrays whoever makes it.
"""

import functools
import os
import threading
import time

import cv2
import numpy as np

CHUNK = 8  # Examples that a worker process hands over at a time.


def run(example, first, last, count, rows, workers):
    """Iterates over (batch, notes): `count` examples each, joined to `rows` rows.

    workers: processes; None or 0 for one thread a core within this process.  What comes
    out is the same.  Closing the iterator ends its threads and processes.
    """
    # Late, since Grain imports JAX where it is installed; avjax.data itself does not.
    import grain

    cv2.setNumThreads(1)
    data = grain.MapDataset.range(first, last).map(example)
    if workers:
        from absl import flags

        if not flags.FLAGS.is_parsed():  # Grain reads its own flags, which needs this.
            flags.FLAGS.mark_as_parsed()
        chunk = max(size for size in range(1, CHUNK + 1) if count % size == 0)
        data = data.batch(chunk, batch_fn=functools.partial(_join, 0))
        data = data.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=1))
        data = data.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2),
            worker_init_fn=functools.partial(_start, os.getpid()),
        )
    else:
        chunk, threads = 1, _cores()
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
        data = data.to_iter_dataset(options)
    data = data.batch(count // chunk, batch_fn=functools.partial(_join, rows))
    # Joining copies a batch: done by a thread, so that nobody waits for it.
    iterator = iter(grain.experimental.ThreadPrefetchIterDataset(data, prefetch_buffer_size=2))
    try:
        yield from iterator
    finally:
        iterator.close()


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
                "end in one size, e.g. with avjax.data.video.center_crop(size)"
            )
        missing = max(0, rows - sum(len(part) for part in parts))
        padding = np.zeros((missing, *parts[0].shape[1:]), parts[0].dtype)
        batch[name] = np.concatenate([*parts, padding] if missing else parts)
    return batch, notes


def _start(parent, index, count):
    """Keeps a worker process to one core, and from outliving its parent."""
    del index, count
    cv2.setNumThreads(1)

    def leave_with_parent():
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()


def _cores():
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
