"""Long videos of the synthetic world, drawn as they are read: no files, little memory.

    python -m avjax.data.datasets.synthetic_long DIR --num_videos 1 --seconds 600

writes some to mp4 files, with the true moments in DIR/moments.csv.
"""

import argparse
import functools
import os
from typing import Any

import numpy as np

from avjax.config import ranges
from avjax.config.program import program_name
from avjax.data.clip_reading import read_clips
from avjax.data.clip_times import restrict_to_record
from avjax.data.datasets import synthetic
from avjax.data.media.media_file import Info
from avjax.data.source import Source
from avjax.data.synthesis import long_videos
from avjax.data.synthesis.long_videos import World
from avjax.runtime import csv_file
from avjax.runtime.filenames import OPEN_ARGS

VERSION = 1  # In the names of records: raise it with any change to what is drawn or heard.


def make(
    split: str, num_videos: int, seed: int = 0, seconds: float = 120.0, scene_seconds: float = 4.0,
    num_moments: int = 3, decoys: float = 0.4, noises: float = 0.5, size: int = 48,
    fps: float = 8.0, sample_rate: int = 8000, trimmed: bool = False,
) -> Source:  # fmt: skip
    """Returns the Source of `num_videos` long videos, see `avjax.data.synthesis.long_videos`.

    Video `i` is of class `i % 12`.  A record has `seconds` and `moments`, ((start, end), ...).

    Args:
      split: "train", "test" or "val".
      num_videos: how many.
      seed, seconds, scene_seconds, num_moments, decoys, noises, size, fps, sample_rate: as of
        `long_videos.World`.
      trimmed: a record is one moment instead of a whole video, as in data sets of short clips.

    Raises:
      ValueError: an argument is out of its range.
    """
    ranges.check_integer("num_videos", num_videos)
    found = World(
        seed, split, seconds, scene_seconds, num_moments, decoys, noises, size, fps, sample_rate
    )
    check(found)
    parts = [f"{name}{value}" for name, value in found._asdict().items() if name != "split"]
    place = f"synthetic_long-v{VERSION}-{'-'.join(parts)}/{split}"
    records = []
    for video in range(num_videos):
        plan = long_videos.plan(found, video)
        spans = plan.spans(scene_seconds)
        record = dict(path=f"{place}/{video:06d}", label=plan.label, video=video)
        if trimmed:
            records += [record | dict(start=start, end=end) for start, end in spans]
        else:
            records.append(record | dict(seconds=seconds, moments=spans))
    read = functools.partial(_read, found, tuple(records))
    name = f"synthetic-{'moments' if trimmed else 'long'}-{split}"
    return Source(name, tuple(records), synthetic.CLASSES, read)


def check(world: World) -> None:
    """Raises ValueError if a number of a world is out of its range."""
    if world.split not in synthetic.SPLITS:
        raise ValueError(f"split={world.split!r}: use one of {', '.join(synthetic.SPLITS)}")
    ranges.check_integer("seed", world.seed, 0)
    for name in ("seconds", "scene_seconds", "fps"):
        ranges.check_number(name, getattr(world, name), above=0)
    for name in ("decoys", "noises"):
        ranges.check_number(name, getattr(world, name), minimum=0, maximum=1)
    ranges.check_integer("sample_rate", world.sample_rate, 8000)
    ranges.check_integer("size", world.size, 32)
    if world.size % 2:
        raise ValueError(f"size={world.size}: H.264 needs an even size")
    total = world.seconds / world.scene_seconds
    if abs(total - round(total)) > 1e-6:
        raise ValueError(
            f"seconds={world.seconds:g}: use a multiple of scene_seconds={world.scene_seconds:g}"
        )
    ranges.check_integer("num_moments", world.num_moments, 1, round(total))


def _read(world, records, row, sampler, rngs):
    """The clips of a record, as `Source.read`."""
    if sampler.num_samples and (sampler.sample_rate, sampler.channels) != (world.sample_rate, 1):
        raise ValueError(
            f"the videos have {world.sample_rate} Hz in one channel, and the clip sampler asks for "
            f"{sampler.sample_rate} Hz in {sampler.channels}: use the same"
        )
    record, end = records[row], world.seconds
    info = Info(0.0, end, 0.0, end, world.fps, world.size, world.size, world.sample_rate)

    def read_frames(start):
        times = start + np.arange(sampler.num_frames) / sampler.fps
        shown = np.clip(times, 0, end - 1 / world.fps)
        return np.stack([long_videos.frame(world, record["video"], float(t)) for t in shown])

    def read_audio(start):
        return long_videos.audio(world, record["video"], start, sampler.num_samples)

    return read_clips(sampler, restrict_to_record(info, record), rngs[0], read_frames, read_audio)


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's flags."""
    p = argparse.ArgumentParser(
        prog=program_name("avjax.data.datasets.synthetic_long"),
        description="Writes long videos of the synthetic world as mp4 files, and their moments.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument("out", help="folder of the files")
    p.add_argument("--split", default="test", choices=synthetic.SPLITS)
    p.add_argument("--num_videos", type=int, default=1, help="how many, the classes in turn")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--seconds", type=float, default=120.0, help="length of each")
    p.add_argument("--num_moments", type=int, default=3, help="informative scenes of each")
    p.add_argument("--size", type=int, default=96, help="pixels a side, even")
    p.add_argument("--fps", type=float, default=16.0)
    p.add_argument("--sample_rate", type=int, default=24_000, help="samples of audio a second")
    return p


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    p = parser()
    flags = vars(p.parse_args(argv))
    out, rows = flags.pop("out"), [("path", "start", "end", "class")]
    try:
        source = make(**flags)
    except ValueError as error:
        p.error(str(error))
    os.makedirs(out, exist_ok=True)
    own: dict[str, Any] = {name: flags[name] for name in flags.keys() & {*World._fields}}
    world = World(**{**dict(scene_seconds=4.0, decoys=0.4, noises=0.5), **own})
    for record in source.records:
        label = synthetic.CLASSES[record["label"]]
        path = os.path.join(out, f"{record['video']:06d}-{label}.mp4")
        long_videos.write(path, world, record["video"])
        rows += [(path, f"{start:g}", f"{end:g}", label) for start, end in record["moments"]]
        print(path)
    with open(os.path.join(out, "moments.csv"), "w", **OPEN_ARGS) as file:
        csv_file.write_rows(file, rows)


if __name__ == "__main__":
    main()
