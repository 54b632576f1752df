"""Clips from shards that `python -m avjax.prepare` wrote: random access, no video codec.

A record is one or more examples of the data set (its pieces of about ten seconds), so a
clip reads one or two of them, decodes only its own frames, and copies only its own sound.
Which frame is shown at a time is decided by the rule of avjax.data.decode, on the times
that the frames have in the file.
"""

import functools
import json
import os

import cv2
import numpy as np

from avjax.data import decode, example, folder, listing
from avjax.data.clips import cut, silence, within
from avjax.data.source import NoRecords, Source

OPEN = 256  # Shards that a process keeps open.


def make(root, split, splits=None, fold=1, quarantine=None, need=()):
    """The source of the records of `split` in the folder `root` that prepare wrote.

    splits, fold: a CSV file that says which record belongs to which split, as in
      avjax.data.folder; None: what prepare was told.
    quarantine: a CSV file with a column `path`: records to leave out, as in avjax.data.folder.
    need: "audio" leaves out records without sound, "video" those without picture.
    """
    told = _told(root)
    for modality in need:
        if modality not in ("audio", "video"):
            raise ValueError(f'need={tuple(need)}: name "audio", "video" or both')
    if splits is None and split not in told["splits"]:
        there = ", ".join(sorted(told["splits"]))
        raise ValueError(f"{root} has no split {split!r}, only {there}")
    rows = list(_rows(root, told, split, splits and folder.from_csv(splits, fold)))
    rows = [row for row in rows if all(row["info"][f"{m}_start"] is not None for m in need)]
    left_out, there = listing.barred(quarantine), len(rows)
    rows = [row for row in rows if row["path"] not in left_out]
    if not rows:
        raise NoRecords(f"split {split!r} of {root} has no record with {need or 'clips'}")
    known = ("label", "labels", "start", "end", "group")
    records = tuple(
        {"path": os.path.join(told["root"], row["path"])}
        | {name: row[name] for name in known if row.get(name) is not None}
        for row in rows
    )
    read = functools.partial(_read, os.path.abspath(root), told, tuple(rows))
    listed = None if splits else told["splits"][split]["listed"]
    return Source(
        f"{told['name']}/{split}", records, tuple(told["classes"]), read, listed, there - len(rows)
    )


def _rows(root, told, split, chosen):
    """What is known of the records of `split`: prepare's, or those that `chosen` puts there."""
    rows = []
    for name, kept in told["splits"].items():
        if chosen or name == split:
            with open(os.path.join(root, kept["records"]), encoding="utf-8") as lines:
                rows += [json.loads(line) for line in lines]
    if not chosen:
        return rows
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
    info = decode.Info(**record["info"])
    has_audio = info.audio_start is not None
    if view.samples and view.rate != told["rate"]:
        raise ValueError(
            f"{root} keeps sound at {told['rate']} Hz and the view wants {view.rate}: "
            "use the same, or prepare again with --rate"
        )

    def piece(number):
        if number not in pieces:
            file = told["splits"][record["split"]]["template"].format(record["shard"])
            data = _reader(os.path.join(root, file)).read([record["first"] + number])[0]
            pieces[number] = example.features(data)
        return pieces[number]

    def frames(start):
        return _frames(root, record, info, piece, start, view, told["short_side"])

    def sound(start):
        return _sound(record, piece, start, view, told["rate"]) if has_audio else silence(view)

    windows = view.windows(within(info, record), rngs[0])
    return [cut(view, window, frames, sound) for window in windows], has_audio


def _frames(root, record, info, piece, start, view, short_side):
    """As decode.frames: the last frame with its time <= t; past the end, the clip's own start."""
    if info.video_start is None:
        raise decode.MediaError(record["path"], "has no picture")
    if view.short_side and short_side and view.short_side > short_side:
        raise ValueError(
            f"{root} keeps pictures of short side {short_side} and the view wants "
            f"{view.short_side}: prepare again with --short_side"
        )
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


def _pieces(record, low, high):
    """Numbers of the pieces that hold what is shown or heard from `low` to `high`."""
    cuts = record["cuts"]  # Where each piece begins, and the end.
    first = max(0, np.searchsorted(cuts, low + record["slack"], side="right") - 1)
    last = np.searchsorted(cuts, high + record["slack"], side="right") - 1
    return range(min(first, len(cuts) - 2), min(max(first, last), len(cuts) - 2) + 1)


def _sound(record, piece, start, view, rate):
    """As decode.sound: samples of the file's clock, silence where the file has none."""
    low, out = round(start * rate), silence(view)
    for number in _pieces(record, start, start + view.samples / rate):
        first = piece(number)["audio_first"][0]
        kept = np.frombuffer(piece(number)["audio"][0], np.int16)
        kept = kept.reshape(-1, record["channels"])
        here = slice(max(low, first), min(low + view.samples, first + len(kept)))
        if here.start < here.stop:
            part = _mixed(kept[here.start - first : here.stop - first], view.channels)
            out[here.start - low : here.stop - low] = part
    return out


def _mixed(wave, channels):
    """int16 [n, kept channels] -> [n], or [n, 2] for two `channels`."""
    if channels == 2:
        return np.broadcast_to(wave, (len(wave), 2))
    return wave[:, 0] if wave.shape[1] == 1 else np.rint(wave.mean(axis=1)).astype(np.int16)


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
