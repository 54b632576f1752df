"""The synthetic world: short drawn videos whose sound is caused by what is seen, as real mp4 files.

Twelve classes, H.264 and AAC, the time of every event known.  It is rendered on first
use and kept; video `i` of a split depends on (seed, split, i) only, so asking for more
keeps those that are there, and a stopped rendering goes on where it was.

    python -m avjax.data.datasets.synthetic /data/world --videos 48 --sheet /data/world.png
"""

import argparse
import concurrent.futures
import fractions
import json
import os

import av
import numpy as np

from avjax.data.source import Source
from avjax.data.synthesis import canvas, contact_sheet as sheet, continuous_scenes, impact_scenes
from avjax.data.synthesis.scene import look_of
from avjax.runtime.atomic import replacing, write_atomic
from avjax.runtime.progress import progress

VERSION = 1  # In the folder's name: raise it with any change to what is drawn, heard or told.
SPLITS = ("train", "test", "val")  # The number of a split is in its seeds: add at the end.
SCENES = (
    impact_scenes.ball,
    impact_scenes.drum,
    impact_scenes.string,
    impact_scenes.pendulum,
    impact_scenes.walker,
    impact_scenes.firework,
    continuous_scenes.lamp,
    continuous_scenes.wheel,
    continuous_scenes.rain,
    continuous_scenes.shutter,
    continuous_scenes.balloon,
    continuous_scenes.car,
)
CLASSES = tuple(scene.__name__ for scene in SCENES)


def make(
    root: str,
    split: str,
    videos: int = 600,
    seed: int = 0,
    seconds: float = 4.0,
    size: int = 96,
    fps: float = 16,
    rate: int = 24_000,
    workers: int | None = None,
) -> Source:
    """The source of `videos` videos below the folder `root`, rendered if they are not there yet.

    Record `i` is of class `i % 12` and has `path`, `label` and `events`, a tuple of
    (seconds from the file's start, kind).  Frames are [size, size], sound is mono.
    """
    check(split, videos, seed, seconds, size, fps, rate)
    name = f"v{VERSION}-seed{seed}-{seconds:g}s-{size}px-{fps:g}fps-{rate}hz"
    folder = os.path.join(os.path.abspath(root), name, split)
    os.makedirs(folder, exist_ok=True)
    told = [truth(seed, split, i, seconds) for i in range(videos)]
    write_truth(os.path.join(folder, "truth.jsonl"), told)
    paths = [
        os.path.join(folder, f"{i:06d}-{CLASSES[i % len(CLASSES)]}.mp4") for i in range(videos)
    ]
    jobs = [
        (path, seed, split, i, seconds, size, fps, rate)
        for i, path in enumerate(paths)
        if not os.path.exists(path)
    ]
    if jobs:
        render_all(jobs, workers or os.cpu_count(), f"rendering {split}")
    records = tuple(
        {"path": path, "label": i % len(CLASSES), "events": tuple(map(tuple, told[i]["events"]))}
        for i, path in enumerate(paths)
    )
    return Source(f"synthetic-{split}", records, CLASSES)


def check(split, videos, seed, seconds, size, fps, rate):
    if split not in SPLITS:
        raise ValueError(f"the synthetic world has no split {split!r}: use one of {SPLITS}")
    if size % 2 or size < 32:
        raise ValueError(f"size={size}: H.264 needs an even size, and the scenes 32 or more")
    if seed < 0:
        raise ValueError(f"seed={seed}: use 0 or more")
    if videos < 1 or seconds <= 0 or fps <= 0 or rate < 8_000:
        raise ValueError(
            f"videos={videos}, seconds={seconds}, fps={fps}, rate={rate}: at least one video of"
            " more than no seconds, more than no frames a second, and 8000 Hz"
        )


def world(seed, split, i, seconds):
    """(look, scene, rng of the picture, rng of the sound) of video i."""
    sequence = np.random.SeedSequence([seed, SPLITS.index(split), i])
    plot, picture, sound = (np.random.Generator(np.random.PCG64(s)) for s in sequence.spawn(3))
    look = look_of(plot)
    return look, SCENES[i % len(CLASSES)](plot, look, seconds), picture, sound


def truth(seed, split, i, seconds):
    """What is known of video i, as it stands in truth.jsonl."""
    look, scene, _, _ = world(seed, split, i, seconds)
    seen = {"hue": look.hue, "size": look.size, "speed": look.speed, "pitch": look.pitch}
    name = CLASSES[i % len(CLASSES)]
    events = [list(event) for event in scene.events]
    return {"video": i, "class": name, **seen, **scene.facts, "events": events}


def write_truth(path, told):
    """Writes the truth, a line a video; keeps a longer file that begins alike."""
    lines = [json.dumps(row) + "\n" for row in told]
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            old = file.readlines()
        shared = min(len(old), len(lines))
        if old[:shared] != lines[:shared]:
            raise ValueError(f"{path} is of another version of this world: delete its folder")
        if len(old) >= len(lines):
            return
    write_atomic(path, "".join(lines))


def imagine(seed, split, i, seconds, size, fps, rate):
    """Video i before its encoding: (uint8 [T, size, size, 3], int16 [N])."""
    _, scene, rng, rng_sound = world(seed, split, i, seconds)
    side = canvas.side(size)
    ground = canvas.backdrop(rng, side)
    strangers, shoot = canvas.distractors(rng), canvas.camera(rng, size, seconds)
    frames = np.empty((round(seconds * fps), size, size, 3), np.uint8)
    for k in range(len(frames)):
        page = canvas.Canvas(ground.copy(), float(size))
        strangers(page, k / fps)
        scene.draw(page, k / fps)
        frames[k] = shoot(page, k / fps)
    sound = scene.sound(rng_sound, round(seconds * rate), rate)
    sound = sound / (np.abs(sound).max() + 1e-9) * rng_sound.uniform(0.35, 0.9)
    loudness = 10 ** rng_sound.uniform(-3.2, -2.2)
    sound = sound + loudness * rng_sound.uniform(-1, 1, len(sound))
    return frames, (np.clip(sound, -1, 1) * 32767).astype(np.int16)


def render(path, seed, split, i, seconds, size, fps, rate):
    """Renders video i to an mp4 file, which appears under its name only when it is whole."""
    frames, sound = imagine(seed, split, i, seconds, size, fps, rate)
    with replacing(path) as part, av.open(part, "w", format="mp4") as file:
        video = file.add_stream("libx264", rate=fractions.Fraction(fps).limit_denominator(1000))
        video.width, video.height, video.pix_fmt = size, size, "yuv420p"
        video.codec_context.thread_count = 1  # Videos run side by side already.
        video.options = {"preset": "ultrafast", "crf": "22", "g": "16"}
        audio = file.add_stream("aac", rate=rate, layout="mono", bit_rate=64_000)
        for image in frames:
            file.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(video.encode(None))
        chunk = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
        chunk.sample_rate, chunk.pts = rate, 0
        file.mux(audio.encode(chunk))
        file.mux(audio.encode(None))


def render_all(jobs, workers, title):
    """Renders every job in threads, which OpenCV, NumPy and FFmpeg let run side by side."""
    pool = concurrent.futures.ThreadPoolExecutor(workers)
    try:
        futures = [pool.submit(render, *job) for job in jobs]
        done = concurrent.futures.as_completed(futures)
        for future in progress(done, len(futures), title):
            future.result()
    finally:  # After an error or Ctrl-C, those not begun are not begun.
        pool.shutdown(cancel_futures=True)


def contact_sheet(path, source, columns=16):
    """Saves a PNG of one video a class: every second frame, the waveform, red lines at events."""
    rows = []
    for record in source.records[: len(CLASSES)]:
        with av.open(record["path"]) as file:
            images = [f.to_ndarray(format="rgb24") for f in file.decode(video=0)]
            fps = float(file.streams.video[0].average_rate)
        with av.open(record["path"]) as file:
            sound = np.concatenate([f.to_ndarray()[0] for f in file.decode(audio=0)])
            rate = file.streams.audio[0].rate
        images = np.stack(images[: 2 * columns : 2])
        shown = 2 * len(images) / fps
        marks = [t / shown for t, _ in record["events"] if t < shown]
        name = CLASSES[record["label"]]
        rows.append((name, images, sound[: int(shown * rate)], marks))
    sheet.save(path, rows)


def main():
    parser = argparse.ArgumentParser(
        prog="python -m avjax.data.datasets.synthetic",
        description="Renders the synthetic world to a folder, to look at and to listen to.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("out", help="folder; the videos go to a folder of their own below it")
    parser.add_argument("--split", default="train", choices=SPLITS)
    parser.add_argument("--videos", type=int, default=48, help="how many, the classes in turn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each")
    parser.add_argument("--size", type=int, default=96, help="pixels a side, even")
    parser.add_argument("--fps", type=float, default=16)
    parser.add_argument("--rate", type=int, default=24_000, help="samples of sound a second")
    parser.add_argument("--workers", type=int, help="threads; all cores if not given")
    parser.add_argument("--sheet", metavar="PNG", help="also save a contact sheet, a class a row")
    flags = vars(parser.parse_args())
    picture, root = flags.pop("sheet"), flags.pop("out")
    try:
        source = make(root, **flags)
    except ValueError as error:
        parser.error(str(error))
    print(os.path.dirname(source[0]["path"]))
    if picture:
        contact_sheet(picture, source)
        print(picture)


if __name__ == "__main__":
    main()
