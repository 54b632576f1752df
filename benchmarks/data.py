"""Clips per second and core: avjax, a PyAV loop, torchcodec and SPDL, in one run.

Two clips are read: 8 frames of short side 128 with 2 s of audio at 24 kHz, and that of SPDL's
published benchmark, 16 frames of 112 x 112 without audio.

- PyAV loop: seek to the key frame, decode, turn frames into arrays and scale them; decode the
  audio of the window and resample it.
- torchcodec with exact and with approximate seek, SPDL (no audio): left out where not installed,
  see benchmarks/data_readers.py.
- avjax, decoding only: avjax.data.media and nothing else, as the sides above.
- avjax, files and shards: the whole pipeline, which also draws crop, flip and color, lays frames on
  the canvas and makes batches.  Shards are as python -m avjax.prepare writes them with
  --short_side, --fps and --sample_rate of the clip.

All sides run on one core, take turns and are measured by processor time, so a busy machine slows
them alike; ratios are of medians.

    python benchmarks/data.py                   # 340 x 256, H.264 and AAC, rendered
    python benchmarks/data.py --root ~/videos   # or a folder of videos
"""

import os
import pathlib
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # This checkout.

from avjax.data import clip_sampling, pipeline
from avjax.data.source import Source
from avjax.data.transforms import audio, video
from benchmarks import data_files, data_readers
from benchmarks.data_readers import Clip

CLIPS = {
    "8 frames of short side 128, 2 s of audio": Clip(8, 16, 128, 2.0, 24_000, crop=False),
    "16 frames of 112 x 112, no audio": Clip(16, 16, 112, 0.0, 24_000, crop=True),
}
SHARD_REPEATS = 10  # Repetitions for shards, so that starting the pipeline does not count.


def sampler_and_transforms(clip):
    """Those of avjax's pipeline for the clip."""
    sampler = clip_sampling.uniform(
        clip.frames, clip.fps, clip.seconds, clip.rate, num_clips=1, short_side=clip.side
    )
    frame_size = clip.side, round(clip.side * 16 / 9)
    crop = video.random_crop_color_jitter(frame_size=frame_size)
    return sampler, (crop, audio.random_gain()) if clip.samples else (crop,)


def make_sides(records, kept, clip, batch_size):
    """{name: (a function that reads clips, how many)}."""
    sides = {}

    def read_all(reader):
        for record in records:
            reader(record, clip)

    def batches(source, times):
        steps = times * len(records) // batch_size
        args = source, *sampler_and_transforms(clip), batch_size
        for batch in pipeline.train_batches(*args, seed=0, stop=steps, workers=0):
            assert batch["mask"].all()

    for name, reader in data_readers.readers().items():
        if not (name == "SPDL" and clip.samples):
            sides[name] = (lambda reader=reader: read_all(reader)), len(records)
    source, count = Source("files", records), SHARD_REPEATS * len(records)
    sides["avjax, files"] = (lambda: batches(source, 1)), len(records)
    sides["avjax, shards"] = (lambda: batches(kept, SHARD_REPEATS)), count
    return sides


def seconds_per_clip(sides, rounds):
    """{name: median processor time per clip}, of `rounds` turns on one core."""
    used, every = {side: [] for side in sides}, os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(every)})
    for _ in range(rounds + 1):
        for side, (work, count) in sides.items():
            begin = time.process_time()
            work()
            used[side].append((time.process_time() - begin) / count)
    os.sched_setaffinity(0, every)
    # The first turn brings files into memory, and imports.
    return {side: statistics.median(times[1:]) for side, times in used.items()}


def print_table(title, median):
    """A table in Markdown: clips per second, and how many times those of each other side."""
    rivals = [side for side in median if not side.startswith("avjax")]
    print(f"\n{title}\n\n| | clips/s | {' | '.join(f'times {side}' for side in rivals)} |")
    print("|---|---|" + "---|" * len(rivals))
    for side, seconds in median.items():
        ratios = [f"{median[rival] / seconds:.2f}" for rival in rivals]
        print(f"| {side} | {1 / seconds:.1f} | {' | '.join(ratios)} |", flush=True)


def main():
    options = data_files.parse_arguments(__doc__)
    print(data_readers.versions())
    with data_files.files_and_folder(options.root) as (groups, place):
        for number, (name, paths) in enumerate(groups.items()):
            records = data_files.windows(paths, options.clips, number)
            for title, clip in CLIPS.items():
                folder = os.path.join(place, f"shards_{number}_{clip.side}")
                kept = data_files.prepared(folder, records, clip, options.segment_seconds)
                sides = make_sides(records, kept, clip, options.batch_size)
                print_table(f"{title}; {name}", seconds_per_clip(sides, options.rounds))


if __name__ == "__main__":
    main()
