"""Clips per second by the number of threads and of processes: do they wait for each other?

FFmpeg has a global lock for opening decoders, and Python one for its interpreter.  Threads open
and close files, read clips from files, and read clips from shards; then avjax's pipeline reads
the clips in its default number of threads and in processes.  Rows: clips per second by the clock,
and per second of processor time; medians of interleaved rounds.

    python benchmarks/data_workers.py                   # 340 x 256, H.264 and AAC, rendered
    python benchmarks/data_workers.py --root ~/videos   # or a folder of videos
"""

import os
import pathlib
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # This checkout.

from avjax.data import example as reading, pipeline
from avjax.data.media import video as media_video
from avjax.data.source import Source
from avjax.data.workers import malloc
from benchmarks import data, data_files

THREADS, PROCESSES = (1, 2, 4, 8), (1, 2, 4)
REPEATS = {"open and close": 10, "files": 1, "shards": 10}  # A round takes about as long in each.


def open_and_close(record):
    with media_video.open_media(record["path"]):
        pass


def make_works(source, kept, clip):
    """{name: a function of a record's number}."""
    sampler, transforms = data.sampler_and_transforms(clip)

    def load(source, row):
        rngs = [np.random.default_rng([0, row])]
        _, fault = reading.load_example(
            source, row, sampler, transforms, rngs, True, {}, lambda row: None
        )
        assert fault is None, fault

    return {
        "open and close": lambda row: open_and_close(source[row]),
        "files": lambda row: load(source, row),
        "shards": lambda row: load(kept, row),
    }


def run_threads(work, count, threads, repeats):
    """(clips per second, clips per second of processor time)."""
    begin, used = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(threads) as executor:
        list(executor.map(lambda i: work(i % count), range(count * repeats)))
    elapsed, used = time.perf_counter() - begin, time.process_time() - used
    return count * repeats / elapsed, count * repeats / used


def run_pipeline(source, clip, batch_size, workers, repeats):
    """(clips per second from the second batch on,)."""
    steps = repeats * len(source) // batch_size
    args = source, *data.sampler_and_transforms(clip), batch_size
    running = pipeline.train_batches(*args, seed=0, stop=steps + 1, workers=workers)
    next(running)
    begin = time.perf_counter()
    assert all(batch["mask"].all() for batch in running)
    return (steps * batch_size / (time.perf_counter() - begin),)


def measure(records, kept, clip, options):
    """{row: medians}."""
    source, sides = Source("files", records), {}
    for name, work in make_works(source, kept, clip).items():
        for threads in THREADS:
            args = work, len(records), threads, REPEATS[name]
            sides[f"{name}, {threads} threads"] = lambda args=args: run_threads(*args)
    for name, each in (("files", source), ("shards", kept)):
        for workers in (0, *PROCESSES):
            args = each, clip, options.batch_size, workers, REPEATS[name]
            label = f"{workers} processes" if workers else "threads"
            sides[f"pipeline of {name}, {label}"] = lambda args=args: run_pipeline(*args)
    found = {side: [] for side in sides}
    for _ in range(options.rounds + 1):
        for side, run in sides.items():
            found[side].append(run())
    return {side: [statistics.median(v) for v in zip(*runs[1:])] for side, runs in found.items()}


def main():
    options = data_files.parse_arguments(__doc__)
    malloc.retain_freed_memory()
    clip = next(iter(data.CLIPS.values()))
    with data_files.files_and_folder(options.root, gops=(12,)) as (groups, place):
        for name, paths in groups.items():
            records = data_files.windows(paths, options.clips, 0)
            folder = os.path.join(place, "shards")
            kept = data_files.prepared(folder, records, clip, options.segment_seconds)
            print(f"\n{name}\n\n| | clips/s | per second of processor time |\n|---|---|---|")
            for side, rates in measure(records, kept, clip, options).items():
                cells = " | ".join(f"{rate:.0f}" for rate in [*rates, float("nan")][:2])
                print(f"| {side} | {cells.replace('nan', '')} |", flush=True)
    print(f"\n{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
