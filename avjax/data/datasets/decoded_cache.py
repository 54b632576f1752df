"""A source whose files are decoded once: its frames and sound stay on disk as plain arrays.

Many short runs on the same files then cost no decoding.  A file's arrays bear the name of
what they hold (file, size, time, frame rate and so on), so runs may share a folder, and a
stopped program goes on with the files that are missing.
"""

import concurrent.futures
import dataclasses
import functools
import hashlib
import json
import math
import os

import numpy as np

from avjax.data.clip_sampling import cut, silence, subsamples, within
from avjax.data.media import video as media_video
from avjax.runtime.atomic import write_atomic
from avjax.runtime.progress import progress

VERSION = 1  # In the names: raise it with any change to what is kept.
EDGE = 1e-5  # Seconds before its time from which a frame is shown: times are sums of floats.


def make(source, fps, rate, root, short_side=None, workers=None):
    """`source` with its files kept under `root`: frames at `fps` a second, sound at `rate` Hz.

    Clips are those of the files themselves wherever `fps` is the files' own; else their
    frames are up to 1 / fps seconds older, and views take `fps` or that divided by 2, 3, ...
    Views must be of the same `rate`.

    short_side: kept pictures have that many pixels on their shorter side; None: all.
    workers: threads that decode; None for one a core.
    """
    if fps <= 0 or rate <= 0:
        raise ValueError(f"fps={fps}, rate={rate}: use more than 0")
    os.makedirs(root, exist_ok=True)
    names = tuple(_name(record, fps, rate, root, short_side) for record in source.records)
    todo = {
        name: record["path"]
        for name, record in zip(names, source.records)
        if not os.path.exists(f"{name}.json")
    }
    keep = functools.partial(_keep, fps=fps, rate=rate, short_side=short_side)
    with concurrent.futures.ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        jobs = [pool.submit(keep, name, path) for name, path in todo.items()]
        try:
            done = concurrent.futures.as_completed(jobs)
            for job in progress(done, len(jobs), f"decoding {source.name}") if jobs else ():
                job.result()
        finally:  # After an error or Ctrl-C, those not begun are not begun.
            pool.shutdown(cancel_futures=True)
    read = functools.partial(_read, names, source.records, fps, rate)
    return dataclasses.replace(source, read=read)


def _name(record, fps, rate, root, short_side):
    """Where a record's arrays are, without an ending."""
    path = record["path"]
    try:
        found = os.stat(path)
        state = found.st_size, found.st_mtime_ns
    except OSError:
        state = None  # Not there: kept as a fault, until it is.
    told = [VERSION, os.path.abspath(path), state, fps, rate, short_side]
    name = hashlib.blake2b(json.dumps(told).encode("utf-8", "surrogateescape"), digest_size=12)
    return os.path.join(root, name.hexdigest())


def _keep(name, path, fps, rate, short_side):
    """Decodes a file and writes its arrays, and last of all what is known of it.

    Plain bytes, not .npy: NumPy parses the header of one as Python, which among the threads of
    Python 3.11 now and then fails ("AST constructor recursion depth mismatch").
    """
    try:
        with media_video.open_media(path) as media:
            info, told = media.info, {}
            if media.video is not None:
                count = max(1, math.ceil((info.video_end - info.video_start - EDGE) * fps))
                frames = media_video.frames(media, info.video_start, count, fps, short_side)
                write_atomic(f"{name}.video", frames.tobytes())
                told["video"] = frames.shape
            if media.audio is not None:
                first = round(info.audio_start * rate)
                samples = round(info.audio_end * rate) - first
                sound = media_video.sound(media, first / rate, samples, rate)
                write_atomic(f"{name}.audio", sound.tobytes())
                told["audio"] = sound.shape
            told["info"] = info._asdict()
    except media_video.MediaError as error:
        told = {"fault": error.reason}
    write_atomic(f"{name}.json", json.dumps(told))


def _read(names, records, fps, rate, row, view, rngs):
    """Clips of record `row` as `view` wants them, and whether it has sound."""
    name, record = names[row], records[row]
    if view.samples and view.rate != rate:
        raise ValueError(f"sound is kept at {rate} Hz and the view wants {view.rate}: use the same")
    if view.samples and view.channels != 1:
        raise ValueError(f"sound is kept in one channel and the view wants {view.channels}: use 1")
    with open(f"{name}.json", encoding="utf-8") as file:
        told = json.load(file)
    if "fault" in told:
        raise media_video.MediaError(record["path"], told["fault"])
    info = media_video.Info(**told["info"])
    part = within(info, record)
    has_audio = part.audio_start is not None
    own = info.fps and abs(info.fps / fps - 1) < 1e-3
    if view.frames > 1 and not own and not subsamples(fps, view.fps):
        raise ValueError(
            f"frames are kept at {fps:g} per second and clips take {view.fps:g}: keep them at a "
            "multiple of that"
        )

    def frames(start):
        if part.video_start is None:
            raise media_video.MediaError(record["path"], "has no picture in its segment")
        return _frames(name, told, record, info, start, view, fps)

    def sound(start):
        return _sound(name, told, info, start, view) if has_audio else silence(view)

    windows = view.windows(part, rngs[0])
    return [cut(view, window, frames, sound) for window in windows], has_audio


def _frames(name, told, record, info, start, view, fps):
    """As media_video.frames: what is shown at each time; past the end, the clip from its start."""
    kept = np.memmap(f"{name}.video", np.uint8, "r", shape=tuple(told["video"]))
    times = np.maximum(start + np.arange(view.frames) / view.fps, info.video_start)
    inside = max(1, int(np.sum(times < info.video_end - EDGE)))
    times = times[np.arange(view.frames) % inside]
    at = np.floor((times - info.video_start + EDGE) * fps).astype(int)
    return kept[np.minimum(at, len(kept) - 1)]


def _sound(name, told, info, start, view):
    """As media_video.sound: silence where the file has none."""
    kept = np.memmap(f"{name}.audio", np.int16, "r", shape=tuple(told["audio"]))
    low = round(start * view.rate) - round(info.audio_start * view.rate)
    out = silence(view)
    here = slice(max(0, low), max(0, min(len(kept), low + view.samples)))
    out[here.start - low : here.stop - low] = kept[here]
    return out
