"""A source whose files are decoded once: frames and audio stay on disk as plain arrays.

Many short runs on the same files then cost no decoding.  The names of a file's arrays depend on
what they hold (file, size, time, frame rate and so on), so runs may share a folder, and a
stopped program resumes with the missing files.
"""

import dataclasses
import functools
import hashlib
import json
import math
import os

import numpy as np

from avjax.data.clip_reading import (
    is_integer_subsampling,
    read_clips,
    silent_audio,
    stored_frame_indices,
)
from avjax.data.clip_times import TIME_TOLERANCE, restrict_to_record
from avjax.data.media import video as media_video
from avjax.data.source import Source
from avjax.runtime import thread_pool
from avjax.runtime.atomic import write_atomic
from avjax.runtime.progress import progress
from avjax.runtime.regular_files import read_text

VERSION = 2  # In the names: raise it with any change to what is kept.


def make(
    source: Source,
    fps: float,
    sample_rate: int,
    root: str,
    short_side: int | None = None,
    workers: int | None = None,
) -> Source:
    """Returns `source`, reading from a cache below `root` that is filled here.

    Clips are the same as those of the files themselves if `fps` is the files' own; else their
    frames are up to 1 / fps seconds older, and samplers take `fps` or that divided by 2, 3, ...

    Args:
      source: a Source.
      fps: frames per second to store.
      sample_rate: of the audio, in Hz; samplers must use the same.
      root: folder of the cache.
      short_side: pixels of the shorter side of stored frames; None keeps their size.
      workers: decoding threads; None for one per core.

    Raises:
      ValueError: fps or sample_rate is not above 0.
    """
    if fps <= 0 or sample_rate <= 0:
        raise ValueError(f"fps={fps}, sample_rate={sample_rate}: use more than 0")
    os.makedirs(root, exist_ok=True)
    names = tuple(
        _cache_path(record, fps, sample_rate, root, short_side) for record in source.records
    )
    missing = {
        name: record["path"]
        for name, record in zip(names, source.records)
        if not os.path.exists(f"{name}.json")
    }
    decode = functools.partial(
        _decode_to_cache, fps=fps, sample_rate=sample_rate, short_side=short_side
    )
    jobs, threads = list(missing.items()), workers or os.cpu_count() or 1
    order = np.random.default_rng(os.getpid()).permutation(len(jobs))
    jobs = [jobs[i] for i in order]  # Processes that start together share the files.
    with thread_pool.completed(lambda job: decode(*job), jobs, threads) as done:
        for _ in progress(done, len(jobs), f"decoding {source.name}") if jobs else ():
            pass
    read = functools.partial(_read_clips, names, source.records, fps, sample_rate)
    return dataclasses.replace(source, read=read)


def _cache_path(record, fps, sample_rate, root, short_side):
    """Path of a record's arrays, without an ending."""
    path = record["path"]
    try:
        status = os.stat(path)
        state = status.st_size, status.st_mtime_ns
    except OSError:
        state = None  # Not there: kept as a fault, until it is.
    key = [VERSION, os.path.abspath(path), state, fps, sample_rate, short_side]
    name = hashlib.blake2b(json.dumps(key).encode("utf-8", "surrogateescape"), digest_size=12)
    return os.path.join(root, name.hexdigest())


def _decode_to_cache(name, path, fps, sample_rate, short_side):
    """Decodes a file and writes its arrays, and finally what is known of it, which may be there.

    Plain bytes, not .npy: NumPy parses the header of one as Python, which among the threads of
    Python 3.11 now and then fails ("AST constructor recursion depth mismatch").
    """
    if os.path.exists(f"{name}.json"):
        return
    try:
        with media_video.open_media(path) as media:
            info, metadata = media.info, {}
            if info.video_start is not None and info.video_end is not None:
                count = max(
                    1, math.ceil((info.video_end - info.video_start - TIME_TOLERANCE) * fps)
                )
                frames = media_video.read_frames(media, info.video_start, count, fps, short_side)
                write_atomic(f"{name}.video", frames.tobytes())
                metadata["video"] = frames.shape
            if info.audio_start is not None and info.audio_end is not None:
                first = round(info.audio_start * sample_rate)
                samples = round(info.audio_end * sample_rate) - first
                audio = media_video.read_audio(media, first / sample_rate, samples, sample_rate)
                write_atomic(f"{name}.audio", audio.tobytes())
                metadata["audio"] = audio.shape
            metadata["info"] = info._asdict()
    except media_video.MediaError as error:
        metadata = {"error": error.reason}
    write_atomic(f"{name}.json", json.dumps(metadata))


def _read_clips(names, records, fps, sample_rate, row, sampler, rngs):
    """Clips of record `row` as the sampler asks, and whether it has audio."""
    name, record = names[row], records[row]
    if sampler.num_samples and sampler.sample_rate != sample_rate:
        raise ValueError(
            f"sound is stored at {sample_rate} Hz and the clip sampler asks for "
            f"{sampler.sample_rate}: use the same"
        )
    if sampler.num_samples and sampler.channels != 1:
        raise ValueError(
            f"sound is stored in one channel and the clip sampler asks for {sampler.channels}: use "
            f"1"
        )
    metadata = json.loads(read_text(f"{name}.json"))
    if "error" in metadata:
        raise media_video.MediaError(record["path"], metadata["error"])
    info = media_video.Info(**metadata["info"])
    segment = restrict_to_record(info, record)
    is_native_fps = info.fps and abs(info.fps / fps - 1) < 1e-3
    if (
        sampler.num_frames > 1
        and not is_native_fps
        and not is_integer_subsampling(fps, sampler.fps)
    ):
        raise ValueError(
            f"frames are kept at {fps:g} per second and clips take {sampler.fps:g}: keep them at a "
            "multiple of that"
        )

    def read_frames(start):
        if segment.video_start is None or info.video_start is None or info.video_end is None:
            raise media_video.MediaError(record["path"], "has no video in its segment")
        stored = np.memmap(f"{name}.video", np.uint8, "r", shape=tuple(metadata["video"]))
        span = info.video_start, info.video_end
        return stored[stored_frame_indices(sampler, start, span, fps, len(stored))]

    def read_audio(start):
        return _read_audio(name, metadata, info, start, sampler)

    return read_clips(sampler, segment, rngs[0], read_frames, read_audio)


def _read_audio(name, metadata, info, start, sampler):
    """As media_video.read_audio: silence where the file has none."""
    stored = np.memmap(f"{name}.audio", np.int16, "r", shape=tuple(metadata["audio"]))
    low = round(start * sampler.sample_rate) - round(info.audio_start * sampler.sample_rate)
    out = silent_audio(sampler)
    start, stop = np.clip((low, low + sampler.num_samples), 0, len(stored))
    out[start - low : stop - low] = stored[start:stop]
    return out
