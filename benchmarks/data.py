"""How fast clips are made: the whole data pipeline against the bare decoding of the same clips.

Bare decoding is the plain PyAV loop one would write: seek to the key frame, decode, turn
the wanted frames into arrays; decode the sound of the window and resample it.  The
pipeline also crops, flips, jitters and makes batches.  All sides are measured by the
processor time they use and take turns, so that a busy machine slows them alike; the
ratio is that of the medians, above 1 where the whole pipeline is faster than the loop.

    PYTHONPATH=. python benchmarks/data.py                   # 340 x 256, H.264 and AAC, rendered
    PYTHONPATH=. python benchmarks/data.py --root ~/videos   # or a folder of videos
"""

import argparse
import pathlib
import statistics
import tempfile
import time
from fractions import Fraction

import av
import cv2
import numpy as np

from avjax.data import audio, clips, decode, folder, pipeline, video
from avjax.data.source import Source

RATE, FPS = 24_000, 16


def render(path, gop, seconds, seed, height=256, width=340, fps=30, rate=48_000):
    """Writes a moving, noisy picture and noise: H.264 with key frames `gop` apart, and AAC."""
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
                images.append(last.to_ndarray(format="rgb24"))
            last = frame
            if len(images) == frames:
                break
        images += [last.to_ndarray(format="rgb24")] * (frames - len(images))
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


def windows(paths, clip_count, seed):
    """Records of two seconds each, at random places of random files: (path, start)."""
    rng, records = np.random.default_rng(seed), []
    while len(records) < clip_count:
        path = str(paths[rng.integers(len(paths))])
        try:
            with decode.open_media(path) as media:
                info = media.info
        except decode.MediaError as error:
            print(f"left out: {error}")
            continue
        if None not in (info.video_start, info.audio_start):
            first = max(info.video_start, info.audio_start)
            last = max(first, min(info.video_end, info.audio_end) - 2.0)
            start = float(rng.uniform(first, last))
            records.append(dict(path=path, start=start, end=start + 2.0))
    return tuple(records)


def seconds_a_clip(records, view, transforms, batch_size, workers):
    """Processor seconds a clip: (the whole pipeline, its decoding alone, the plain loop)."""
    times, source = [], Source("benchmark", records)
    steps = len(records) // batch_size
    begin = time.process_time()
    for batch in pipeline.train(
        source, view, transforms, batch_size, 0, stop=steps, workers=workers
    ):
        assert batch["mask"].all()
    times.append(time.process_time() - begin)
    begin = time.process_time()
    for record in records:
        with decode.open_media(record["path"]) as media:
            decode.frames(media, record["start"] + 0.75, view.frames, view.fps)
            decode.sound(media, record["start"], view.samples, view.rate)
    times.append(time.process_time() - begin)
    begin = time.process_time()
    for record in records:
        plain(record["path"], record["start"] + 0.75, record["start"], view.frames, view.samples)
    times.append(time.process_time() - begin)
    return [seconds / len(records) for seconds in times]


def measure(name, records, options):
    view = clips.even(options.frames, FPS, 2.0, RATE, count=1)  # Where the records say.
    transforms = (
        video.augment(),
        video.applied(options.size),
        audio.gain(),
    )
    args = records, view, transforms, options.batch_size, None
    seconds_a_clip(*args)  # Files into memory, imports.
    rounds = [seconds_a_clip(*args) for _ in range(options.rounds)]
    whole, bare, loop = (statistics.median(column) for column in zip(*rounds))
    print(
        f"{name:12} {1 / whole:10.1f} {1 / bare:10.1f} {1 / loop:10.1f} {loop / whole:8.2f}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", help="a folder of videos; else files are rendered")
    parser.add_argument("--clips", type=int, default=48, help="clips a round (default 48)")
    parser.add_argument("--batch_size", type=int, default=16, help="clips a batch (default 16)")
    parser.add_argument("--frames", type=int, default=8, help="frames a clip (default 8)")
    parser.add_argument("--size", type=int, default=112, help="pixels of the crop (default 112)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of all (default 5)")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    print("Clips a second and core (medians), two seconds of sound and", options.frames, "frames")
    print(f"{'':12} {'pipeline':>10} {'decoding':>10} {'PyAV loop':>10} {'ratio':>8}")
    if options.root:
        paths = [record["path"] for record in folder.make(options.root, "all")]
        measure("root", windows(paths, options.clips, 0), options)
        return
    with tempfile.TemporaryDirectory() as place:
        for gop in (250, 12):
            paths = [pathlib.Path(place, f"{gop}_{seed}.mp4") for seed in range(3)]
            for seed, path in enumerate(paths):
                render(path, gop, seconds=10, seed=seed)
            measure(f"GOP {gop}", windows(paths, options.clips, gop), options)


if __name__ == "__main__":
    main()
