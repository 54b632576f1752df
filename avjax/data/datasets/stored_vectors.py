"""Vectors of videos and of their audio that are read from files, in place of the videos.

Features of any nets, computed once: of `avjax embed`, or of other programs.  Only heads are then
trained on them.
"""

import os
import posixpath
from collections.abc import Mapping
from typing import Any

import numpy as np

from avjax.data import mapped_vectors, record_arrays, vectors
from avjax.data.files import groups, listing, splits as splits_
from avjax.data.mapped_vectors import Named
from avjax.data.record_arrays import RecordArrays
from avjax.data.source import NoRecords, Source


def make(
    video: str | None,
    audio: str | None,
    split: str,
    video_column: str | None = None,
    audio_column: str | None = None,
    match: str = "path",
    splits: str | None = None,
    fold: int = 1,
    holdout: float = 0.2,
    seed: int = 0,
    group: str | None = None,
    device_bytes: int = record_arrays.DEVICE_BYTES,
) -> Source:
    """Returns a Source of the records that have a vector of video and one of audio.

    Rows belong to records by name.  A name with several rows is a record with several clips: both
    files must have the same number of them, or one has a single row for all.  Names are paths like
    those of `avjax.data.datasets.folder`: their folders are classes, and may be splits.

    Args:
      video, audio: files of vectors, see `mapped_vectors.read`; they may be the same .npz.
      split: "train", "val", "test" or "all".
      video_column, audio_column: the array of an .npz; None for "<modality>_features", or else its
        only one.
      match: "path" or "stem", see `vectors.match`.
      splits, fold, holdout, seed, group: as of `avjax.data.datasets.folder`, for names in place of
        files.
      device_bytes: see `record_arrays.RecordArrays`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a file is damaged, or the files do not fit each other.
      NoRecords: the split has no record.
    """
    listing.check_choice("split", split, (*splits_.SPLITS, "all"))
    sides = {"video": (video, video_column), "audio": (audio, audio_column)}
    for name, (path, _) in sides.items():
        if not path:
            raise ValueError(f"{name}={path!r}: name the file of the vectors of {name}")
    named = {n: mapped_vectors.read(path, n, column) for n, (path, column) in sides.items() if path}
    clips = {n: _rows_by_record(of) for n, of in named.items()}
    files = {n: str(path) for n, (path, _) in sides.items()}
    pairs, notes = _pairs(clips, files, match)
    rows = _split_rows([*pairs], splits, fold, holdout, seed, group)
    classes = listing.class_indices(sorted({row["label"] for row in rows if row["label"]}))
    kept = sorted((r for r in rows if split in ("all", r["split"])), key=lambda row: row["path"])
    if not kept:
        raise NoRecords(f"split {split!r} of {video} has no record: change splits or holdout")
    records = tuple(
        dict(path=row["path"], label=classes.get(row["label"], -1))
        | ({"group": row["group"]} if row["group"] else {})
        for row in kept
    )
    arrays = _arrays(named, [pairs[row["path"]] for row in kept], device_bytes)
    name = f"{posixpath.basename(str(video))}/{split}"
    return Source(name, records, tuple(classes), notes=notes, arrays=arrays)


def _rows_by_record(named: Named) -> dict[str, np.ndarray]:
    """{name: its rows with a vector, in order}."""
    rows: dict[str, Any] = {}
    for row in np.flatnonzero(named.valid).tolist():
        rows.setdefault(named.names[row], []).append(row)
    return {name: np.array(of, np.int32) for name, of in rows.items()}


def _pairs(clips, files: Mapping[str, str], match):
    """({name: {modality: rows [clips]}} of the records that have both, notes)."""
    names, others = [*clips["video"]], [*clips["audio"]]
    found = dict(zip(names, vectors.match(others, names, match)))
    pairs = {}
    for name, place in found.items():
        if place < 0:
            continue
        rows = {"video": clips["video"][name], "audio": clips["audio"][others[place]]}
        count = max(map(len, rows.values()))
        if wrong := [n for n, of in rows.items() if len(of) not in (1, count)]:
            raise ValueError(
                f"{name} has {len(rows['video'])} vectors in {files['video']} and "
                f"{len(rows['audio'])} in {files['audio']}: give as many of {wrong[0]}, or one"
            )
        pairs[name] = {n: np.resize(of, count) for n, of in rows.items()}
    if not pairs:
        raise ValueError(
            f"no record is in both files: {files['video']} has names like {names[0]!r}, "
            f'{files["audio"]} like {others[0]!r}; match="stem" compares names without folders'
        )
    lacking = [name for name in names if name not in pairs]
    some = ", ".join(lacking[:3]) + ", ..." * (len(lacking) > 3)
    note = f"{len(lacking):,} of {len(names):,} records ({some}) have no vector in {files['audio']}"
    return pairs, (f"{note}: they are left out",) if lacking else ()


def _split_rows(names, splits, fold, holdout, seed, group):
    """Rows as of `avjax.data.files.splits` of names of records."""
    if any(map(os.path.isabs, names)):
        raise ValueError(
            f"{next(filter(os.path.isabs, names))!r} is an absolute path: name vectors relative to "
            "the folder of the videos, as `avjax embed FOLDER` does"
        )
    if splits is not None:
        listed = splits_.split_by_csv(splits, fold, (), names)
        own = {*names}
        return [row for row in listed if row["path"] in own]
    if found := splits_.split_by_folders(names):
        return found
    rows, _ = groups.assign_groups(splits_.rows_by_class(names), group)
    return splits_.split_by_hash(rows, holdout, seed, ())


def _arrays(named: Mapping[str, Named], pairs, device_bytes) -> RecordArrays:
    count = np.array([len(rows["video"]) for rows in pairs], np.int32)
    return RecordArrays(
        values={name: of.values for name, of in named.items()},
        rows={name: np.concatenate([rows[name] for rows in pairs]) for name in named},
        first=np.cumsum(count) - count,
        count=count,
        digest=" ".join(of.digest for of in named.values()),
        device_bytes=device_bytes,
    )
