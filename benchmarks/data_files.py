"""Files and shards that benchmarks/data.py and data_workers.py read."""

import argparse
import contextlib
import os
import pathlib
import tempfile
from fractions import Fraction

import av
import cv2
import numpy as np

from avjax.data.datasets import folder, shards
from avjax.data.media import video as media_video
from avjax.data.prepare import segments, shard_layout, shard_writer
from avjax.data.source import Source
from benchmarks.data_readers import Clip, frame_times

RECORD_SECONDS = 2.0


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


@contextlib.contextmanager
def files_and_folder(root, gops=(250, 12)):
    """Yields ({name: paths}, an empty folder): the files of `root`, or rendered ones."""
    with tempfile.TemporaryDirectory() as place:
        if root:
            yield {root: [record["path"] for record in folder.make(root, "all").records]}, place
            return
        groups = {}
        for gop in gops:
            paths = [pathlib.Path(place, f"{gop}_{seed}.mp4") for seed in range(3)]
            for seed, path in enumerate(paths):
                render(path, gop, seconds=10, seed=seed)
            groups[f"key frames {gop} apart"] = paths
        yield groups, place


def windows(paths, count, seed):
    """Records of two seconds each, at random places of random files."""
    rng, records = np.random.default_rng(seed), []
    while len(records) < count:
        path = str(paths[rng.integers(len(paths))])
        try:
            with media_video.open_media(path) as media:
                info = media.info
        except media_video.MediaError as error:
            print(f"left out: {error}")
            continue
        if None not in (info.video_start, info.audio_start):
            first = max(info.video_start, info.audio_start)
            last = max(first, min(info.video_end, info.audio_end) - RECORD_SECONDS)
            start = float(rng.uniform(first, last))
            end, size = start + RECORD_SECONDS, (info.width, info.height)
            records.append(dict(path=path, start=start, end=end, size=size))
    return tuple(records)


def prepared(place: str, records: tuple[dict, ...], clip: Clip, segment_seconds: float) -> Source:
    """Writes shards of the files of `records`, and returns a source of the same windows.

    They are as python -m avjax.prepare writes them with --short_side, --fps and --sample_rate of
    the clip, and with --segment_seconds.
    """
    os.makedirs(place)
    paths = sorted({record["path"] for record in records})
    whole = {"train": Source("benchmark", tuple(dict(path=path) for path in paths))}
    made = shard_layout.plan_shards(place, "benchmark", "/", whole)
    kept = segments.PrepareSettings(
        clip.side, float(clip.fps), clip.rate, 1, 90, segment_seconds, ("video", "audio"), 0.5
    )
    shard_layout.record_settings(place, kept, made)
    for number in range(len(made)):
        shard_writer.write_shard(made, kept, (), number, {}, lambda path: None)
    shard_layout.write_metadata(
        place, "benchmark", "/", whole, kept, made, shard_layout.load_rows(made)
    )
    source = shards.make(place, "train")
    row = {record["path"]: i for i, record in enumerate(source.records)}

    def read(i, sampler, rngs):
        # A clip of its own record of two seconds, out of the whole file.
        times = frame_times(records[i], clip)[0], records[i]["start"]
        return source.read(
            row[records[i]["path"]], sampler._replace(sample=lambda info, rng: [times]), rngs
        )

    return Source("shards", records, read=read)


def parse_arguments(description: str) -> argparse.Namespace:
    """Parses the flags that both benchmarks have; clips are a multiple of the batch size."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", help="a folder of videos; else files are rendered")
    parser.add_argument("--clips", type=int, default=48, help="clips a round (default 48)")
    parser.add_argument("--batch_size", type=int, default=16, help="clips per batch (default 16)")
    parser.add_argument("--segment_seconds", type=float, default=3.0, help="of shards (default 3)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of all (default 5)")
    options = parser.parse_args()
    options.clips -= options.clips % options.batch_size
    cv2.setNumThreads(1)
    return options
