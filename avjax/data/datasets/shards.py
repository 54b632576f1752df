"""Clips from shards that `python -m avjax.prepare` wrote: random access, no video codec.

A record is one or more examples of the data set (its segments of about three seconds), so a
clip reads one or two of them, decodes only its own frames, and copies only its own audio.
Which frame is shown at a time is decided by the rule of avjax.data.media.video, on the times
that the frames have in the file.

What a clip may ask for is what the shards can give exactly:

- Frames.  Where all frames of the files are kept: any frame rate.  Where only some per second
  are kept: that rate, or that divided by 2, 3, ...; the frames are those of a clip that begins
  up to one kept frame earlier.  One frame per clip is always possible.
- Audio at any rate, resampled; a higher rate than the kept one adds nothing, and is reported.
- Frames up to the kept size, and no more channels of audio than are kept.
"""

import bisect
import functools
import itertools
import json
import logging
import math
import os
from collections.abc import Sequence

import numpy as np

from avjax.data import tf_example
from avjax.data.clip_reading import is_integer_subsampling, read_clips
from avjax.data.clip_times import restrict_to_record
from avjax.data.files import listing
from avjax.data.files.splits import split_by_csv
from avjax.data.media import audio as media_audio, video as media_video
from avjax.data.media.image import decode_image
from avjax.data.source import NoRecords, Source
from avjax.runtime.regular_files import check_regular, read_text

MAX_OPEN_SHARDS = 256  # Shards that a process keeps open.
TIME_TOLERANCE = 1e-6  # Seconds by which times may be off, which are sums of floats.


def make(
    root: str,
    split: str,
    splits: str | None = None,
    fold: int = 1,
    quarantine: str | None = None,
    require: Sequence[str] = (),
) -> Source:
    """Returns the Source of `split` in the folder `root` that avjax.prepare wrote.

    Args:
      root: the folder.
      split: name of the split.
      splits, fold: CSV file that assigns records to splits, as in avjax.data.datasets.folder;
        None uses the splits of the preparation.
      quarantine: CSV file with a column `path`: records to leave out, as in
        avjax.data.datasets.folder.
      require: "audio" leaves out records without audio, "video" those without video.

    Raises:
      FileNotFoundError: no prepared data set in `root`.
      ValueError, NoRecords: there is no such split, or it is empty.
    """
    metadata = _load_metadata(root)
    for modality in require:
        if modality not in ("audio", "video"):
            raise ValueError(f'need={tuple(require)}: name "audio", "video" or both')
    if splits is None and split not in metadata["splits"]:
        num_before = ", ".join(sorted(metadata["splits"]))
        raise ValueError(f"{root} has no split {split!r}, only {num_before}")
    rows = list(_load_rows(root, metadata, split, splits, fold))
    rows = [row for row in rows if all(row["info"][f"{m}_start"] is not None for m in require)]
    excluded, num_before = listing.read_quarantine(quarantine), len(rows)
    rows = [row for row in rows if row["path"] not in excluded]
    if not rows:
        raise NoRecords(f"split {split!r} of {root} has no record with {require or 'clips'}")
    metadata["all_frames"] = not any(_num_dropped(row, metadata["fps"]) for row in rows)
    copied_keys = ("label", "labels", "start", "end", "group")
    records = tuple(
        {"path": os.path.join(metadata["root"], row["path"])}
        | {name: row[name] for name in copied_keys if row.get(name) is not None}
        for row in rows
    )
    read = functools.partial(_read_clips, os.path.abspath(root), metadata, tuple(rows))
    listed = None if splits else metadata["splits"][split]["num_listed"]
    notes = () if splits else tuple(metadata.get("notes", ()))
    name, excluded = f"{metadata['name']}/{split}", num_before - len(rows)
    settings = {
        k: v for k, v in metadata.items() if k not in ("name", "root", "classes", "splits", "notes")
    }
    classes = tuple(metadata["classes"])
    return Source(name, records, classes, read, listed, excluded, notes, settings)


def _load_rows(root, metadata, split, splits, fold):
    """The rows of `split`: those of the preparation, or those that a CSV file puts there."""
    rows = []
    for name, kept in metadata["splits"].items():
        if splits or name == split:
            lines = read_text(os.path.join(root, kept["records"])).split("\n")
            rows += map(json.loads, filter(None, lines))
    if not splits:
        return rows
    listed_rows = split_by_csv(splits, fold, (metadata["root"],), {row["path"] for row in rows})
    listed_paths = {row["path"] for row in listed_rows if split in ("all", row["split"])}
    return sorted((row for row in rows if row["path"] in listed_paths), key=lambda row: row["path"])


def _load_metadata(root):
    """The content of prepared.json."""
    path = os.path.join(root, "prepared.json")
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"no prepared data set in {root}: write it with python -m avjax.prepare IN {root}"
        )
    return json.loads(read_text(path))


def _read_clips(root, metadata, rows, row, sampler, rngs):
    """Clips of record `row` as the sampler asks, and whether it has audio."""
    record, segments = rows[row], {}
    info = media_video.Info(**record["info"])
    _check_compatible(root, metadata, sampler)

    def read_segment(number):
        if number not in segments:
            file = metadata["splits"][record["split"]]["template"].format(record["shard"])
            data = _open_reader(os.path.join(root, file)).read([record["first"] + number])[0]
            segments[number] = tf_example.parse_features(data)
            if segments[number]["row"][0] != record["row"]:
                raise ValueError(f"{root} was prepared again since it was opened: start again")
        return segments[number]

    def read_frames(start):
        return _read_frames(record, info, read_segment, start, sampler, metadata["fps"])

    def read_audio(start):
        return _read_audio(record, read_segment, start, sampler, metadata["sample_rate"])

    in_segment = restrict_to_record(info, record)
    return read_clips(sampler, in_segment, rngs[0], read_frames, read_audio)


def _check_compatible(root, metadata, sampler):
    """Raises a ValueError, with prepare's flags, unless a sampler's clips can be exact."""
    problems, flags, fps, stored_side = [], [], metadata["fps"], metadata["short_side"]
    if sampler.num_frames and stored_side and (sampler.short_side or 0) > stored_side:
        problems.append(f"frames of short side {stored_side} and clips take {sampler.short_side}")
        flags.append(f"--short_side {sampler.short_side}")
    some_frames = sampler.num_frames > 1 and not metadata["all_frames"]
    if some_frames and not is_integer_subsampling(fps, sampler.fps):
        problems.append(
            f"{fps:g} frames per second and clips take {sampler.fps:g} (it can give {fps:g}, "
            f"{fps / 2:.4g}, {fps / 3:.4g}, ...)"
        )
        flags.append("--fps 0")
    if sampler.num_samples and sampler.channels > metadata["channels"]:
        problems.append(f"sound of one channel and clips take {sampler.channels}")
        flags.append(f"--channels {sampler.channels}")
    if problems:
        raise ValueError(
            f"{root} holds {'; '.join(problems)}: prepare into another folder with "
            f"{' '.join(flags)}, or with --for_config and the config file"
        )
    if sampler.num_samples and sampler.sample_rate > metadata["sample_rate"]:
        _warn_upsampling(root, metadata["sample_rate"], sampler.sample_rate)


@functools.lru_cache
def _warn_upsampling(root, stored_rate, rate):
    """Logs it, once per process."""
    logging.getLogger(__name__).warning(
        "%s holds audio at %d Hz and clips take %d: it is resampled and holds nothing above %d Hz; "
        "prepare with --sample_rate %d if the files have more",
        root, stored_rate, rate, stored_rate // 2, rate,
    )  # fmt: skip


def _read_frames(record, info, read_segment, start, sampler, fps):
    """As media_video.read_frames: the last frame with time <= t; past the end, from the start."""
    if info.video_start is None:
        raise media_video.MediaError(record["path"], "has no video")
    if _num_dropped(record, fps):
        steps = math.floor((start - info.video_start + TIME_TOLERANCE) * fps)
        start = info.video_start + steps / fps  # The times for which frames were kept.
    times, tolerance = start + np.arange(sampler.num_frames) / sampler.fps, record["time_tolerance"]
    segments = [read_segment(number) for number in _segments_between(record, times[0], times[-1])]
    timestamps = np.concatenate([_timestamps(segment) for segment in segments])
    times = np.maximum(times, timestamps[0])
    inside = max(1, int(np.sum(times < record["video_end"] - tolerance)))
    times = times[np.arange(len(times)) % inside]
    frame_indices = np.searchsorted(timestamps, times + tolerance, side="right") - 1
    frame_lists = [segment["video"] for segment in segments]
    first_frames = [0, *itertools.accumulate(map(len, frame_lists))]
    out, decoded_at = np.empty((0, 0, 0, 3), np.uint8), {}
    for k, i in enumerate(frame_indices.tolist()):
        if i in decoded_at:
            out[k] = out[decoded_at[i]]
            continue
        segment_index = bisect.bisect_right(first_frames, i) - 1
        image = decode_image(
            record["path"],
            frame_lists[segment_index][i - first_frames[segment_index]],
            sampler.short_side,
        )
        out = np.empty((len(frame_indices), *image.shape), np.uint8) if not decoded_at else out
        out[k], decoded_at[i] = image, k
    return out


def _num_dropped(record, fps):
    """Number of frames of a record that are not stored; older data sets do not say."""
    return record.get("num_dropped", 1) if fps else 0


def _segments_between(record, low, high):
    """Numbers of the segments that overlap `low` to `high` seconds."""
    cuts = record["boundaries"]  # Where each piece begins, and the end.
    first = max(0, bisect.bisect_right(cuts, low + record["time_tolerance"]) - 1)
    last = bisect.bisect_right(cuts, high + record["time_tolerance"]) - 1
    return range(min(first, len(cuts) - 2), min(max(first, last), len(cuts) - 2) + 1)


def _read_audio(record, read_segment, start, sampler, stored_rate):
    """As media_video.read_audio; other rates than `stored_rate` are resampled across segments."""
    rate, num_samples = sampler.sample_rate, sampler.num_samples
    low = round(start * rate)
    first, length, skip = media_audio.source_span(low, num_samples, stored_rate, rate)
    timeline = np.zeros((length, record["channels"]), np.int16)
    for number in _segments_between(record, first / stored_rate, (first + length) / stored_rate):
        begin = read_segment(number)["audio_first"][0]
        waveform = np.frombuffer(read_segment(number)["audio"][0], np.int16)
        waveform = waveform.reshape(-1, record["channels"])
        overlap = slice(max(first, begin), min(first + length, begin + len(waveform)))
        if overlap.start < overlap.stop:
            timeline[overlap.start - first : overlap.stop - first] = waveform[
                overlap.start - begin : overlap.stop - begin
            ]
    channels = timeline.T if record["channels"] == sampler.channels else timeline.mean(axis=1)[None]
    out = np.zeros((len(channels), sampler.num_samples), np.int16)
    for channel, waveform in zip(channels, out):
        resampled = media_audio.resample(channel, stored_rate, rate)[skip : skip + num_samples]
        exact = resampled.dtype == np.int16
        waveform[: len(resampled)] = (
            resampled if exact else np.clip(np.rint(resampled), -32768, 32767)
        )
    return out[0] if sampler.channels == 1 else np.ascontiguousarray(out.T)


def _timestamps(segment):
    return np.frombuffer(segment["video_times"][0], np.float64)


@functools.lru_cache(maxsize=MAX_OPEN_SHARDS)
def _open_reader(path):
    from array_record.python.array_record_module import ArrayRecordReader

    check_regular(path)
    return ArrayRecordReader(path, "readahead_buffer_size:0,max_parallelism:0")
