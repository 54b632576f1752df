"""The synthetic world: short drawn videos whose sound is caused by what is seen, as real mp4 files.

Twelve classes, H.264 and AAC, the time of every event known.  It is rendered on first
use and kept; video `i` of a split depends on (seed, split, i) only, so asking for more
keeps those that are there, and a stopped rendering goes on where it was.

    python -m avjax.data.synthetic /data/world --videos 48 --sheet /data/world.png
"""

import argparse
import concurrent.futures
import fractions
import json
import os
import sys
import time

import av
import cv2
import numpy as np

from avjax.data.scenes import canvas, motions, scene, strikes
from avjax.data.source import Source

VERSION = 1  # In the folder's name: raise it with any change to what is drawn, heard or told.
SPLITS = ("train", "test")
SCENES = (
    strikes.ball,
    strikes.drum,
    strikes.string,
    strikes.pendulum,
    strikes.walker,
    strikes.firework,
    motions.lamp,
    motions.wheel,
    motions.rain,
    motions.shutter,
    motions.balloon,
    motions.car,
)
CLASSES = tuple(scene.__name__ for scene in SCENES)


def make(root, split, videos=600, seed=0, seconds=4.0, size=96, fps=16, rate=24_000, workers=None):
    """The source of `videos` videos below the folder `root`, rendered if they are not there yet.

    Record `i` is of class `i % 12` and has `path`, `label` and `events`, a tuple of
    (seconds from the file's start, kind).  Frames are [size, size], sound is mono.
    """
    check(split, videos, seconds, size, fps, rate)
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
        render_all(jobs, workers or os.cpu_count(), f"rendering {split} to {folder}")
    records = tuple(
        {"path": path, "label": i % len(CLASSES), "events": tuple(map(tuple, told[i]["events"]))}
        for i, path in enumerate(paths)
    )
    return Source(f"synthetic-{split}", records, CLASSES)


def check(split, videos, seconds, size, fps, rate):
    if split not in SPLITS:
        raise ValueError(f"the synthetic world has no split {split!r}: use one of {SPLITS}")
    if size % 2 or size < 32:
        raise ValueError(f"size={size}: H.264 needs an even size, and the scenes 32 or more")
    if videos < 1 or seconds <= 0 or fps <= 0 or rate < 8_000:
        raise ValueError(
            f"videos={videos}, seconds={seconds}, fps={fps}, rate={rate}: at least one video of"
            " more than no seconds, more than no frames a second, and 8000 Hz"
        )


def world(seed, split, i, seconds):
    """(look, scene, rng of the picture, rng of the sound) of video i."""
    sequence = np.random.SeedSequence([seed, SPLITS.index(split), i])
    plot, picture, sound = (np.random.Generator(np.random.PCG64(s)) for s in sequence.spawn(3))
    look = scene.look_of(plot)
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
    part = f"{path}.{os.getpid()}.part"
    with open(part, "w", encoding="utf-8") as file:
        file.writelines(lines)
    os.replace(part, path)


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
    part = f"{path}.{os.getpid()}.part"
    with av.open(part, "w", format="mp4") as file:
        video = file.add_stream("libx264", rate=fractions.Fraction(fps).limit_denominator(1000))
        video.width, video.height, video.pix_fmt = size, size, "yuv420p"
        video.codec_context.thread_count = 1
        video.options = {"preset": "ultrafast", "crf": "20", "g": "16"}
        audio = file.add_stream("aac", rate=rate, layout="mono", bit_rate=64_000)
        for image in frames:
            file.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(video.encode(None))
        chunk = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
        chunk.sample_rate, chunk.pts = rate, 0
        file.mux(audio.encode(chunk))
        file.mux(audio.encode(None))
    os.replace(part, path)


def render_all(jobs, workers, title):
    """Renders every job, in threads, and tells how far it is."""
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(render, *job) for job in jobs]:
            future.result()
