"""Clips from shards that `python -m avjax.prepare` wrote: random access, no video codec.

A record is one or more examples of the data set (its pieces of about ten seconds), so a
clip reads one or two of them, decodes only its own frames, and copies only its own sound.
Which frame is shown at a time is decided by the rule of avjax.data.media.video, on the times
that the frames have in the file.

What a clip may ask for is what the shards can give exactly:

- Frames.  Where all frames of the files are kept, any frame rate: the frames are those of the
  files.  Where only so many per second are kept, that rate or that divided by 2, 3, ...: the
  frames are those of the file for a clip that begins up to one kept frame earlier, so they
  never repeat nor jump.  One frame per clip is always possible.
- Sound at any rate, resampled; a higher rate than the kept one adds nothing, and is reported.
- Pictures up to the kept size, and no more channels of sound than are kept.
"""

import functools
import json
import logging
import math
import os

import cv2
import numpy as np

from avjax.data import tf_example
from avjax.data.clip_sampling import cut, silence, subsamples, within
from avjax.data.files import listing
from avjax.data.files.splits import from_csv
from avjax.data.media import audio as media_audio, video as media_video
from avjax.data.source import NoRecords, Source

OPEN = 256  # Shards that a process keeps open.
EDGE = 1e-6  # Seconds by which times may be off, which are sums of floats.


def make(root, split, splits=None, fold=1, quarantine=None, need=()):
    """The source of the records of `split` in the folder `root` that prepare wrote.

    splits, fold: a CSV file that says which record belongs to which split, as in
      avjax.data.datasets.folder; None: what prepare was told.
    quarantine: a CSV file with a column `path`: records to leave out, as in
      avjax.data.datasets.folder.
    need: "audio" leaves out records without sound, "video" those without picture.
    """
    told = _told(root)
    for modality in need:
        if modality not in ("audio", "video"):
            raise ValueError(f'need={tuple(need)}: name "audio", "video" or both')
    if splits is None and split not in told["splits"]:
        there = ", ".join(sorted(told["splits"]))
        raise ValueError(f"{root} has no split {split!r}, only {there}")
    rows = list(_rows(root, told, split, splits, fold))
    rows = [row for row in rows if all(row["info"][f"{m}_start"] is not None for m in need)]
    left_out, there = listing.barred(quarantine), len(rows)
    rows = [row for row in rows if row["path"] not in left_out]
    if not rows:
        raise NoRecords(f"split {split!r} of {root} has no record with {need or 'clips'}")
    told["all_frames"] = not any(_dropped(row, told["fps"]) for row in rows)
    known = ("label", "labels", "start", "end", "group")
    records = tuple(
        {"path": os.path.join(told["root"], row["path"])}
        | {name: row[name] for name in known if row.get(name) is not None}
        for row in rows
    )
    read = functools.partial(_read, os.path.abspath(root), told, tuple(rows))
    listed = None if splits else told["splits"][split]["listed"]
    notes = () if splits else tuple(told.get("notes", ()))
    name, left_out = f"{told['name']}/{split}", there - len(rows)
    settings = {
        k: v for k, v in told.items() if k not in ("name", "root", "classes", "splits", "notes")
    }
    classes = tuple(told["classes"])
    return Source(name, records, classes, read, listed, left_out, notes, settings)


def _rows(root, told, split, splits, fold):
    """What is known of the records of `split`: prepare's, or those that a CSV puts there."""
    rows = []
    for name, kept in told["splits"].items():
        if splits or name == split:
            with open(os.path.join(root, kept["records"]), encoding="utf-8") as lines:
                rows += [json.loads(line) for line in lines]
    if not splits:
        return rows
    chosen = from_csv(splits, fold, (told["root"],), {row["path"] for row in rows})
    wanted = {row["path"] for row in chosen if split in ("all", row["split"])}
    return sorted((row for row in rows if row["path"] in wanted), key=lambda row: row["path"])


def _told(root):
    """What prepare left on the whole of its work."""
    path = os.path.join(root, "prepared.json")
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"no prepared data set in {root}: write it with python -m avjax.prepare IN {root}"
        )
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def _read(root, told, rows, row, view, rngs):
    """Clips of record `row` as `view` wants them, and whether it has sound."""
    record, pieces = rows[row], {}
    info = media_video.Info(**record["info"])
    has_audio = info.audio_start is not None
    _check(root, told, view)

    def piece(number):
        if number not in pieces:
            file = told["splits"][record["split"]]["template"].format(record["shard"])
            data = _reader(os.path.join(root, file)).read([record["first"] + number])[0]
            pieces[number] = tf_example.features(data)
            if pieces[number]["row"][0] != record["row"]:
                raise ValueError(f"{root} was prepared again since it was opened: start again")
        return pieces[number]

    def frames(start):
        return _frames(record, info, piece, start, view, told["fps"])

    def sound(start):
        return _sound(record, piece, start, view, told["rate"]) if has_audio else silence(view)

    windows = view.windows(within(info, record), rngs[0])
    return [cut(view, window, frames, sound) for window in windows], has_audio


def _check(root, told, view):
    """Raises a ValueError that names the settings of prepare unless a view's clips can be exact."""
    wrong, settings, fps, side = [], [], told["fps"], told["short_side"]
    if view.frames and side and (view.short_side or 0) > side:
        wrong.append(f"pictures of short side {side} and clips take {view.short_side}")
        settings.append(f"--short_side {view.short_side}")
    if view.frames > 1 and not told["all_frames"] and not subsamples(fps, view.fps):
        wrong.append(
            f"{fps:g} frames per second and clips take {view.fps:g} (it can give {fps:g}, "
            f"{fps / 2:.4g}, {fps / 3:.4g}, ...)"
        )
        settings.append("--fps 0")
    if view.samples and view.channels > told["channels"]:
        wrong.append(f"sound of one channel and clips take {view.channels}")
        settings.append(f"--channels {view.channels}")
    if wrong:
        raise ValueError(
            f"{root} holds {'; '.join(wrong)}: prepare into another folder with "
            f"{' '.join(settings)}, or with --for_config and the config file"
        )
    if view.samples and view.rate > told["rate"]:
        _report_upsampling(root, told["rate"], view.rate)


@functools.lru_cache
def _report_upsampling(root, kept, rate):
    """Logs it, once in a process."""
    logging.getLogger(__name__).warning(
        "%s holds sound at %d Hz and clips take %d: it is resampled, and nothing above %d Hz is "
        "heard; prepare with --rate %d if the files have more", root, kept, rate, kept // 2, rate
    )  # fmt: skip


def _frames(record, info, piece, start, view, fps):
    """As media_video.frames: the last frame with its time <= t; past the end, the clip's start."""
    if info.video_start is None:
        raise media_video.MediaError(record["path"], "has no picture")
    if _dropped(record, fps):
        steps = math.floor((start - info.video_start + EDGE) * fps)
        start = info.video_start + steps / fps  # The times for which frames were kept.
    times, late = start + np.arange(view.frames) / view.fps, record["slack"]
    parts = [piece(number) for number in _pieces(record, times[0], times[-1])]
    stamps = np.concatenate([_stamps(part) for part in parts])
    times = np.maximum(times, stamps[0])
    inside = max(1, int(np.sum(times < record["video_end"] - late)))
    times = times[np.arange(len(times)) % inside]
    at = np.searchsorted(stamps, times + late, side="right") - 1
    lists = [part["video"] for part in parts]
    firsts = np.cumsum([0, *map(len, lists)])
    out, done = None, {}
    for k, i in enumerate(at.tolist()):
        if i in done:
            out[k] = out[done[i]]
            continue
        part = np.searchsorted(firsts, i, side="right") - 1
        image = _image(lists[part][i - firsts[part]], view.short_side)
        out = np.empty((len(at), *image.shape), np.uint8) if out is None else out
        out[k], done[i] = image, k
    return out


def _dropped(record, fps):
    """How many frames of a record are not kept; sets that were written before do not tell."""
    return record.get("dropped", 1) if fps else 0


def _pieces(record, low, high):
    """Numbers of the pieces that hold what is shown or heard from `low` to `high`."""
    cuts = record["cuts"]  # Where each piece begins, and the end.
    first = max(0, np.searchsorted(cuts, low + record["slack"], side="right") - 1)
    last = np.searchsorted(cuts, high + record["slack"], side="right") - 1
    return range(min(first, len(cuts) - 2), min(max(first, last), len(cuts) - 2) + 1)


def _sound(record, piece, start, view, kept):
    """As media_video.sound: samples of the file's clock, silence where the file has none.

    kept: Hz of the shards.  Sound at another rate is made of one line across the pieces.
    """
    low = round(start * view.rate)
    first, length, skip = media_audio.span(low, view.samples, kept, view.rate)
    line = np.zeros((length, record["channels"]), np.int16)
    for number in _pieces(record, first / kept, (first + length) / kept):
        begin = piece(number)["audio_first"][0]
        wave = np.frombuffer(piece(number)["audio"][0], np.int16).reshape(-1, record["channels"])
        here = slice(max(first, begin), min(first + length, begin + len(wave)))
        if here.start < here.stop:
            line[here.start - first : here.stop - first] = wave[
                here.start - begin : here.stop - begin
            ]
    sides = line.T if record["channels"] == view.channels else line.mean(axis=1)[None]
    out = np.zeros((len(sides), view.samples), np.int16)
    for side, wave in zip(sides, out):
        part = media_audio.resampled(side, kept, view.rate)[skip : skip + view.samples]
        exact = part.dtype == np.int16
        wave[: len(part)] = part if exact else np.clip(np.rint(part), -32768, 32767)
    return out[0] if view.channels == 1 else np.ascontiguousarray(out.T)


def _image(packed, short_side):
    image = cv2.imdecode(np.frombuffer(packed, np.uint8), cv2.IMREAD_COLOR_RGB)
    height, width = image.shape[:2]
    if short_side and short_side != min(height, width):
        scale = short_side / min(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return image


def _stamps(part):
    return np.frombuffer(part["video_times"][0], np.float64)


@functools.lru_cache(maxsize=OPEN)
def _reader(path):
    from array_record.python import array_record_module

    return array_record_module.ArrayRecordReader(path, "readahead_buffer_size:0,max_parallelism:0")
