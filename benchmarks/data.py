"""Clip throughput of files and shards, against a plain PyAV loop and bare decoding.

A clip is 8 frames of short side 128 and 2 s of sound at 24 kHz.  The plain loop is what one
would write: seek to the key frame, decode, turn the wanted frames into arrays and scale them;
decode the sound of the window and resample it.  Bare decoding is avjax.data.media.video and nothing
else.  The pipeline also draws what the device is to do (crop, flip, color), lays frames on the
canvas and makes batches, with Grain or in a plain loop.  All sides run on one core, take turns and
are measured by processor time, so a busy machine slows them alike; ratios are of medians.  Shards
are as python -m avjax.prepare writes them with --fps 16 --sample_rate 24000.

    PYTHONPATH=. python benchmarks/data.py                   # 340 x 256, H.264 and AAC, rendered
    PYTHONPATH=. python benchmarks/data.py --root ~/videos   # or a folder of videos
"""

import argparse
import os
import pathlib
import statistics
import tempfile
import time
from fractions import Fraction

import av
import cv2
import numpy as np

from avjax.data import clip_sampling, example as reading, pipeline
from avjax.data.datasets import folder, shards
from avjax.data.media import video as media_video
from avjax.data.prepare import segments, shard_layout, shard_writer
from avjax.data.source import Source
from avjax.data.transforms import audio, video

RATE, FPS, SIDE = 24_000, 16, 128
SHARD_REPEATS = 20  # Repetitions for shards, so that starting the pipeline does not count.


def render(path, gop, seconds, seed, height=256, width=340, fps=30, rate=48_000):
    """Writes a noisy video and noise: H.264 with key frames `gop` apart, and AAC."""
    rng = np.random.default_rng(seed)
    ground = cv2.resize(rng.integers(0, 255, (20, 60, 3), dtype=np.uint8), (3 * width, height))
    with av.open(str(path), "w") as file:
        picture = file.add_stream("libx264", rate=fps, options={"g": str(gop), "crf": "23"})
        picture.height, picture.width, picture.pix_fmt = height, width, "yuv420p"
        sound = file.add_stream("aac", rate=rate)
        sound.codec_context.layout = "stereo"
        for i in range(seconds * fps):
            image = np.ascontiguousarray(ground[:, i : i + width])
            image = cv2.add(image, rng.integers(0, 16, image.shape, dtype=np.uint8))
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, fps)
            file.mux(picture.encode(frame))
        for k in range(0, seconds * rate, 1024):
            wave = rng.normal(0, 0.1, (2, 1024)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = rate, k, Fraction(1, rate)
            file.mux(sound.encode(frame))
        file.mux(picture.encode(None))
        file.mux(sound.encode(None))


def plain(path, video_start, audio_start, frames, samples):
    """One clip by the plain loop: uint8 [T, H, W, 3] and int16 [N]."""
    with av.open(path) as file:
        stream = file.streams.video[0]
        stream.thread_count = 1
        times = [video_start + i / FPS for i in range(frames)]
        file.seek(int(video_start / stream.time_base), stream=stream)
        images, last = [], None
        for frame in file.decode(stream):
            while len(images) < frames and last is not None and frame.time > times[len(images)]:
                images.append(resize(last.to_ndarray(format="rgb24")))
            last = frame
            if len(images) == frames:
                break
        images += [resize(last.to_ndarray(format="rgb24"))] * (frames - len(images))
        stream = file.streams.audio[0]
        file.seek(int(audio_start / stream.time_base), stream=stream)
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        wave, got = [], 0
        for frame in file.decode(stream):
            for part in resampler.resample(frame):
                wave.append(part.to_ndarray()[0])
                got += part.samples
            if got >= samples:
                break
    return np.stack(images), np.concatenate(wave)[:samples]


def resize(image):
    scale = SIDE / min(image.shape[:2])
    return cv2.resize(image, (round(image.shape[1] * scale), round(image.shape[0] * scale)))


def windows(paths, clip_count, seed):
    """Records of two seconds each, at random places of random files: (path, start)."""
    rng, records = np.random.default_rng(seed), []
    while len(records) < clip_count:
        path = str(paths[rng.integers(len(paths))])
        try:
            with media_video.open_media(path) as media:
                info = media.info
        except media_video.MediaError as error:
            print(f"left out: {error}")
            continue
        if None not in (info.video_start, info.audio_start):
            first = max(info.video_start, info.audio_start)
            last = max(first, min(info.video_end, info.audio_end) - 2.0)
            start = float(rng.uniform(first, last))
            records.append(dict(path=path, start=start, end=start + 2.0))
    return tuple(records)


def prepared(place, records):
    """The shards of the files of `records`; a source with the same windows."""
    os.makedirs(place)
    paths = sorted({r["path"] for r in records})
    whole = {"train": Source("benchmark", tuple(dict(path=path) for path in paths))}
    made = shard_layout.plan_shards(str(place), "benchmark", "/", whole)
    kept = segments.PrepareSettings(SIDE, 16.0, RATE, 1, 90, 10.0, ("video", "audio"), 0.5)
    shard_layout.record_settings(str(place), kept, made)
    for number in range(len(made)):
        shard_writer.write_shard(made, kept, (), number, {}, lambda path: None)
    shard_layout.write_metadata(
        str(place), "benchmark", "/", whole, kept, made, shard_layout.load_rows(made)
    )
    source = shards.make(str(place), "train")
    row = {record["path"]: i for i, record in enumerate(source.records)}

    def read(i, sampler, rngs):
        # A clip of its own record of two seconds, out of the ten of the file.
        at = lambda info, rng: [(records[i]["start"] + 0.75, records[i]["start"])]
        return source.read(row[records[i]["path"]], sampler._replace(sample=at), rngs)

    return Source("shards", records, read=read)


def sides(records, kept, sampler, transforms, batch_size):
    """{name: a function that makes all clips}."""
    source, steps = Source("files", records), len(records) // batch_size

    def loop():
        for record in records:
            start = record["start"]
            plain(record["path"], start + 0.75, start, sampler.num_frames, sampler.num_samples)

    def bare():
        for record in records:
            with media_video.open_media(record["path"]) as media:
                media_video.read_frames(
                    media, record["start"] + 0.75, sampler.num_frames, sampler.fps, SIDE
                )
                media_video.read_audio(
                    media, record["start"], sampler.num_samples, sampler.sample_rate
                )

    def batches(source, times=1):
        args = source, sampler, transforms, batch_size
        for batch in pipeline.train_batches(*args, seed=0, stop=times * steps, workers=0):
            assert batch["mask"].all()

    def without_grain(source):
        for first in range(0, len(records), batch_size):
            examples = []
            for row in range(first, first + batch_size):
                rngs = [np.random.default_rng([0, row])]
                clip, fault = reading.load_example(
                    source, row, sampler, transforms, rngs, True, {}, lambda row: None
                )
                assert fault is None
                examples.append(clip)
            for name in examples[0]:
                np.concatenate([example[name] for example in examples])

    return {
        "PyAV loop": loop,
        "bare decoding": bare,
        "files": lambda: batches(source),
        "files, no Grain": lambda: without_grain(source),
        "shards": lambda: batches(kept, SHARD_REPEATS),
        "shards, no Grain": lambda: [without_grain(kept) for _ in range(SHARD_REPEATS)],
    }


def by_the_clock(source, sampler, transforms, batch_size, workers):
    """Clips a second of shards, from the second batch on."""
    steps = 20 * len(source) // batch_size
    running = pipeline.train_batches(
        source, sampler, transforms, batch_size, seed=0, stop=steps + 1, workers=workers
    )
    next(running)
    begin = time.perf_counter()
    assert all(batch["mask"].all() for batch in running)
    return steps * batch_size / (time.perf_counter() - begin)


def measure(name, records, place, options):
    sampler = clip_sampling.uniform(options.frames, FPS, 2.0, RATE, num_clips=1, short_side=SIDE)
    transforms = video.random_crop_color_jitter(frame_size=(SIDE, 228)), audio.random_gain()
    kept = prepared(place, records)
    ours = sides(records, kept, sampler, transforms, options.batch_size)
    used, every = {side: [] for side in ours}, os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(every)})
    for _ in range(options.rounds + 1):
        for side, work in ours.items():
            begin = time.process_time()
            work()
            count = len(records) * (SHARD_REPEATS if side.startswith("shards") else 1)
            used[side].append((time.process_time() - begin) / count)
    os.sched_setaffinity(0, every)
    # The first turn brings files into memory, and imports.
    middle = {side: statistics.median(times[1:]) for side, times in used.items()}
    print(f"\n{name}: clips per second and core")
    for side in ours:
        print(f"  {side:18} {1 / middle[side]:8.1f}")
    for one, other in (
        ("files", "PyAV loop"),
        ("bare decoding", "PyAV loop"),
        ("files", "bare decoding"),
        ("files", "files, no Grain"),
        ("shards", "shards, no Grain"),
        ("shards", "PyAV loop"),
    ):
        print(f"  {one} / {other}: {middle[other] / middle[one]:.2f}")
    for name, workers in (("threads", 0), ("processes", len(every))):
        args = kept, sampler, transforms, options.batch_size, workers
        rate = statistics.median(by_the_clock(*args) for _ in range(3))
        print(f"  shards by the clock, {len(every)} {name}: {rate:.0f}", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", help="a folder of videos; else files are rendered")
    parser.add_argument("--clips", type=int, default=48, help="clips a round (default 48)")
    parser.add_argument("--batch_size", type=int, default=16, help="clips per batch (default 16)")
    parser.add_argument("--frames", type=int, default=8, help="frames per clip (default 8)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of all (default 5)")
    options = parser.parse_args()
    options.clips -= options.clips % options.batch_size
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as place:
        if options.root:
            paths = [record["path"] for record in folder.make(options.root, "all")]
            records = windows(paths, options.clips, 0)
            measure(options.root, records, pathlib.Path(place, "shards"), options)
            return
        for gop in (250, 12):
            paths = [pathlib.Path(place, f"{gop}_{seed}.mp4") for seed in range(3)]
            for seed, path in enumerate(paths):
                render(path, gop, seconds=10, seed=seed)
            records = windows(paths, options.clips, gop)
            measure(f"GOP {gop}", records, pathlib.Path(place, f"shards{gop}"), options)


if __name__ == "__main__":
    main()
