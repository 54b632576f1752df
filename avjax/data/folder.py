"""Any folder of videos as a Source: the name of a sub-folder is the label of what is in it."""

import csv
import hashlib
import os
import pathlib
import re

from avjax.data.source import Source

SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")
SPLITS = ("train", "val", "test")


def make(root, split, splits=None, fold=1, holdout=0.2, seed=0, group=None, suffixes=SUFFIXES):
    """Returns a Source of the videos under `root` that belong to `split`.

    Args:
      split: "train", "val", "test", or "all".
      splits: a CSV file with a column `path`, relative to `root`, and a column
        `split<fold>` or `split`; `label` and `group` if there are such columns.  None:
        a hash of each path puts it into "test" or "train".
      holdout: without `splits`, the share of files in "test"; a file stays in its split
        when others come or go.
      group: without `splits`, a regular expression; files of one folder in whose names
        it finds the same text stay in one split, e.g. r"_g\\d+_" for UCF101.
    """
    root = pathlib.Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}: set root to the folder of the videos")
    if split not in (*SPLITS, "all"):
        raise ValueError(f"unknown split {split!r}: use one of {(*SPLITS, 'all')}")
    if splits is None:
        rows = _by_hash(_find(root, suffixes), holdout, seed, group)
    else:
        rows = _from_csv(root, splits, fold)
    classes = sorted({row["label"] for row in rows if row["label"]})
    number = {label: i for i, label in enumerate(classes)}
    chosen = sorted((r for r in rows if split in ("all", r["split"])), key=lambda r: r["path"])
    if not chosen:
        there = {s: sum(row["split"] == s for row in rows) for s in SPLITS}
        remedy = f"fold (is {fold})" if splits else f"holdout (is {holdout})"
        raise ValueError(f"split {split!r} of {root} has no record, of {there}: change {remedy}")
    real = os.path.realpath(root)
    _require(splits, chosen, real)
    records = []
    for row in chosen:
        record = dict(path=os.path.join(real, row["path"]), label=number.get(row["label"], -1))
        records.append(record | ({"group": row["group"]} if row["group"] else {}))
    return Source(f"{root.name}/{split}", tuple(records), tuple(classes))


def _find(root, suffixes):
    """Paths of the videos under `root`, relative to it, in sorted order."""
    suffixes = tuple(suffix.lower() for suffix in suffixes)
    found = []
    for folder, _, names in os.walk(root):
        for name in names:
            if name.lower().endswith(suffixes) and not name.startswith("."):
                found.append(pathlib.Path(folder, name).relative_to(root).as_posix())
    if not found:
        raise FileNotFoundError(f"no video in {root}: looked for names that end in {suffixes}")
    return sorted(found)


def _by_hash(paths, holdout, seed, group):
    rows = []
    for path in paths:
        folder, _, name = path.rpartition("/")
        match = group and re.search(group, name)
        key = f"{folder}/{match.group()}" if match else path
        digest = hashlib.blake2b(f"{seed}:{key}".encode(errors="surrogateescape"), digest_size=8)
        held = int.from_bytes(digest.digest(), "big") < holdout * 2**64
        rows.append(_row(path, "test" if held else "train", group=key if match else ""))
    return rows


def _from_csv(root, file, fold):
    with open(file, encoding="utf-8-sig", newline="") as lines:
        try:
            rows = list(csv.DictReader(lines))
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{file} is not a CSV file: {error}") from error
    columns = list(rows[0]) if rows else []
    column = f"split{fold}" if f"split{fold}" in columns else "split"
    for needed in ("path", column):
        if needed not in columns:
            raise ValueError(f"{file} has no column {needed!r} (or split{fold}), only {columns}")
    wrong = sorted({row[column] or "" for row in rows} - set(SPLITS))
    if wrong:
        raise ValueError(f"{file}: column {column} holds {wrong[:5]}: use {SPLITS}")
    seen = set()
    for row in rows:
        if row["path"] in seen:
            raise ValueError(f"{file} names {row['path']!r} twice: keep one row")
        seen.add(row["path"])
        _check_inside(file, row["path"])
    return [_row(r["path"], r[column], r.get("label"), r.get("group") or "") for r in rows]


def _row(path, split, label=None, group=""):
    folder = path.split("/")[0] if "/" in path else ""
    return dict(path=path, split=split, label=folder if label is None else label, group=group)


def _check_inside(file, path):
    """Refuses a path that leaves the root, or that FFmpeg would not take for a file."""
    parts = pathlib.PurePosixPath(path).parts
    bad = not parts or os.path.isabs(path) or ".." in parts or ":" in parts[0] or "\0" in path
    if bad:
        raise ValueError(f"{file} names {path!r}: paths are relative to the root and inside it")


def _require(splits, rows, real):
    """Every file is there, and lies inside the root once links are followed."""
    paths = [row["path"] for row in rows]
    missing = [path for path in paths if not os.path.isfile(os.path.join(real, path))]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(paths)} files of {splits or real} are not under {real}, e.g. "
            f"{missing[:5]}: check root, or take their rows out"
        )
    for path in paths:
        whole = os.path.realpath(os.path.join(real, path))
        if os.path.commonpath([whole, real]) != real:
            raise ValueError(
                f"{path} is a link out of {real}, to {whole}: copy the file, or use a root that "
                "holds both"
            )
