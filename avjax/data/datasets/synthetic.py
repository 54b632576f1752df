"""The synthetic world: short drawn videos whose audio is caused by what is seen, as real mp4 files.

Twelve classes, H.264 and AAC, the time of every event known.  It is rendered on first use and
kept; video `i` of a split depends on (seed, split, i) only, so a larger data set keeps the
existing videos, and a stopped rendering resumes.

    python -m avjax.data.datasets.synthetic DIR --num_videos 48 --contact_sheet world.png
"""

import argparse
import json
import os
from collections.abc import Iterable

import numpy as np

from avjax.config.program import program_name
from avjax.data.source import Source
from avjax.data.synthesis import (
    canvas,
    contact_sheet as sheet,
    continuous_scenes,
    impact_scenes,
    mp4,
)
from avjax.data.synthesis.scene import Look, Scene, look_of
from avjax.runtime import thread_pool
from avjax.runtime.atomic import write_atomic
from avjax.runtime.progress import progress
from avjax.runtime.regular_files import read_text

VERSION = 1  # In the folder's name: raise it with any change to what is drawn, heard or told.
SPLITS = ("train", "test", "val")  # The number of a split is in its seeds: add at the end.
SCENES = (
    impact_scenes.ball, impact_scenes.drum, impact_scenes.string,
    impact_scenes.pendulum, impact_scenes.walker, impact_scenes.firework,
    continuous_scenes.lamp, continuous_scenes.wheel, continuous_scenes.rain,
    continuous_scenes.shutter, continuous_scenes.balloon, continuous_scenes.car,
)  # fmt: skip
CLASSES = tuple(scene.__name__ for scene in SCENES)


def make(
    root: str, split: str, num_videos: int = 600, seed: int = 0, seconds: float = 4.0,
    size: int = 96, fps: float = 16, sample_rate: int = 24_000, workers: int | None = None,
) -> Source:  # fmt: skip
    """Returns the Source of `num_videos` videos below the folder `root`, rendered if missing.

    Record `i` is of class `i % 12` and has `path`, `label` and `events`, a tuple of (seconds from
    the file's start, kind).

    Args:
      root: folder of the videos.
      split: "train", "test" or "val".
      num_videos: how many.
      seed: of the world, 0 or more.
      seconds: length of each video.
      size: pixels of each side, even, 32 or more.
      fps: frames per second.
      sample_rate: of the mono audio, in Hz, 8000 or more.
      workers: rendering threads; None for one per core.

    Raises:
      ValueError: an argument is out of its range.
    """
    _check_arguments(split, num_videos, seed, seconds, size, fps, sample_rate)
    name = f"v{VERSION}-seed{seed}-{seconds:g}s-{size}px-{fps:g}fps-{sample_rate}hz"
    folder = os.path.join(os.path.abspath(root), name, split)
    os.makedirs(folder, exist_ok=True)
    truths = [ground_truth(seed, split, i, seconds) for i in range(num_videos)]
    write_ground_truth(os.path.join(folder, "ground_truth.jsonl"), truths)
    paths = [
        os.path.join(folder, f"{i:06d}-{CLASSES[i % len(CLASSES)]}.mp4") for i in range(num_videos)
    ]
    jobs = [
        (path, seed, split, i, seconds, size, fps, sample_rate)
        for i, path in enumerate(paths)
        if not os.path.exists(path)
    ]
    if jobs:
        render_all(jobs, workers or os.cpu_count(), f"rendering {split}")
    records = tuple(
        {"path": path, "label": i % len(CLASSES), "events": tuple(map(tuple, truths[i]["events"]))}
        for i, path in enumerate(paths)
    )
    return Source(f"synthetic-{split}", records, CLASSES)


def _check_arguments(split, num_videos, seed, seconds, size, fps, sample_rate):
    if split not in SPLITS:
        raise ValueError(f"split={split!r}: use one of {', '.join(SPLITS)}")
    if size % 2 or size < 32:
        raise ValueError(f"size={size}: H.264 needs an even size, and the scenes 32 or more")
    if seed < 0:
        raise ValueError(f"seed={seed}: use 0 or more")
    if num_videos < 1 or seconds <= 0 or fps <= 0 or sample_rate < 8_000:
        raise ValueError(
            f"num_videos={num_videos}, seconds={seconds}, fps={fps}, sample_rate={sample_rate}: "
            "use at least one video, seconds and fps above 0, and at least 8000 Hz"
        )


def make_scene(
    seed: int, split: str, i: int, seconds: float
) -> tuple[Look, Scene, np.random.Generator, np.random.Generator]:
    """(look, scene, rng of the video, rng of the audio) of video i.

    Args:
      seed: of the world.
      split: one of SPLITS.
      i: number of the video in the split.
      seconds: length of the video.
    """
    sequence = np.random.SeedSequence([seed, SPLITS.index(split), i])
    scene_rng, frame_rng, audio_rng = (
        np.random.Generator(np.random.PCG64(s)) for s in sequence.spawn(3)
    )
    look = look_of(scene_rng)
    return look, SCENES[i % len(CLASSES)](scene_rng, look, seconds), frame_rng, audio_rng


def ground_truth(seed: int, split: str, i: int, seconds: float) -> dict:
    """Returns what is known of video i, a line of ground_truth.jsonl; Args: as of `make_scene`."""
    look, scene, _, _ = make_scene(seed, split, i, seconds)
    seen = {"hue": look.hue, "size": look.size, "speed": look.speed, "pitch": look.pitch}
    name = CLASSES[i % len(CLASSES)]
    events = [list(event) for event in scene.events]
    return {"video": i, "class": name, **seen, **scene.facts, "events": events}


def write_ground_truth(path: str, truths: Iterable[dict]) -> None:
    """Writes the truth, one line per video; keeps a longer file with the same beginning.

    Args:
      path: of the file; a ValueError is raised if its present beginning differs.
      truths: `ground_truth` of each video.
    """
    lines = [json.dumps(row) + "\n" for row in truths]
    if os.path.exists(path):
        old = read_text(path).splitlines(keepends=True)
        shared = min(len(old), len(lines))
        if old[:shared] != lines[:shared]:
            raise ValueError(f"{path} is of another version of this world: delete its folder")
        if len(old) >= len(lines):
            return
    write_atomic(path, "".join(lines))


def draw_video(
    seed: int, split: str, i: int, seconds: float, size: int, fps: float, sample_rate: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns video i before its encoding: (uint8 [T, size, size, 3], int16 [N]).

    Args:
      seed, split, i, seconds: as of `make_scene`.
      size, fps, sample_rate: as of `make`.
    """
    _, scene, frame_rng, audio_rng = make_scene(seed, split, i, seconds)
    side = canvas.side(size)
    ground = canvas.backdrop(frame_rng, side)
    strangers, shoot = canvas.distractors(frame_rng), canvas.camera(frame_rng, size, seconds)
    frames = np.empty((round(seconds * fps), size, size, 3), np.uint8)
    for k in range(len(frames)):
        page = canvas.Canvas(ground.copy(), float(size))
        strangers(page, k / fps)
        scene.draw(page, k / fps)
        frames[k] = shoot(page, k / fps)
    audio = scene.sound(audio_rng, round(seconds * sample_rate), sample_rate)
    audio = audio / (np.abs(audio).max() + 1e-9) * audio_rng.uniform(0.35, 0.9)
    loudness = 10 ** audio_rng.uniform(-3.2, -2.2)
    audio = audio + loudness * audio_rng.uniform(-1, 1, len(audio))
    return frames, (np.clip(audio, -1, 1) * 32767).astype(np.int16)


def render(
    path: str, seed: int, split: str, i: int, seconds: float, size: int, fps: float,
    sample_rate: int,
) -> None:  # fmt: skip
    """Renders video i to an mp4 file, which appears under its name only when complete.

    Args:
      path: of the file.
      seed, split, i, seconds, size, fps, sample_rate: as of `draw_video`.
    """
    frames, audio = draw_video(seed, split, i, seconds, size, fps, sample_rate)
    mp4.write(path, frames, audio, fps, sample_rate)


def render_all(jobs: Iterable[tuple], workers: int | None, title: str) -> None:
    """Renders the missing videos in threads; OpenCV, NumPy and FFmpeg release the GIL.

    Args:
      jobs: arguments of `render` for each.
      workers: number of threads.
      title: of the progress bar.
    """
    jobs, threads = list(jobs), workers or os.cpu_count() or 1
    order = np.random.default_rng(os.getpid()).permutation(len(jobs))
    jobs = [jobs[i] for i in order]  # Processes that start together share the videos.
    do = lambda job: os.path.exists(job[0]) or render(*job)
    with thread_pool.completed(do, jobs, threads) as done:
        for _ in progress(done, len(jobs), title):
            pass


def contact_sheet(path: str, source: Source, columns: int = 16) -> None:
    """Saves a PNG of one video per class: every second frame, the waveform, red lines at events.

    Args:
      path: of the PNG file.
      source: of `make`.
      columns: frames per video.
    """
    rows = []
    for record in source.records[: len(CLASSES)]:
        images, fps, audio, rate = mp4.read(record["path"])
        images = images[: 2 * columns : 2]
        shown = 2 * len(images) / fps
        marks = [t / shown for t, _ in record["events"] if t < shown]
        name = CLASSES[record["label"]]
        rows.append((name, images, audio[: int(shown * rate)], marks))
    sheet.save(path, rows)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog=program_name("avjax.data.datasets.synthetic"),
        description="Renders the synthetic world to a folder, to look at and to listen to.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("out", help="folder; the videos go to a folder of their own below it")
    parser.add_argument("--split", default="train", choices=SPLITS)
    parser.add_argument("--num_videos", type=int, default=48, help="how many, the classes in turn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each")
    parser.add_argument("--size", type=int, default=96, help="pixels a side, even")
    parser.add_argument("--fps", type=float, default=16)
    parser.add_argument("--sample_rate", type=int, default=24_000, help="samples of audio a second")
    parser.add_argument("--workers", type=int, help="threads; all cores if not given")
    parser.add_argument(
        "--contact_sheet", metavar="PNG", help="also save a contact sheet, one row per class"
    )
    flags = vars(parser.parse_args())
    sheet_path, root = flags.pop("contact_sheet"), flags.pop("out")
    try:
        source = make(root, **flags)
    except ValueError as error:
        parser.error(str(error))
    print(os.path.dirname(source[0]["path"]))
    if sheet_path:
        contact_sheet(sheet_path, source)
        print(sheet_path)


if __name__ == "__main__":
    main()
