"""Any folder of videos as a Source: the name of a sub-folder is the label of what is in it."""

import hashlib
import os
import pathlib
import posixpath
import re

from avjax.data import listing
from avjax.data.source import NoRecords

SUFFIXES = listing.VIDEO
SPLITS = ("train", "val", "test")


def make(
    root,
    split,
    splits=None,
    fold=1,
    holdout=0.2,
    seed=0,
    group=None,
    suffixes=SUFFIXES,
    quarantine=None,
):
    """Returns a Source of the videos under `root` that belong to `split`.

    Args:
      split: "train", "val", "test", or "all".
      splits: a CSV file with a column `path`, relative to `root`, and a column
        `split<fold>` or `split`; `label` and `group` if there are such columns.  Files that
        it names and that are not there are counted, and left out.  None: a hash of each path
        puts it into "test" or "train".
      holdout: without `splits`, the share of files in "test"; a file stays in its split
        when others come or go.
      group: without `splits`, a regular expression; files of one folder in whose names
        it finds the same text stay in one split, e.g. r"_g\\d+_" for UCF101.
      quarantine: a CSV file with a column `path`, relative to `root`: files to leave out.
    """
    listing.one_of("split", split, (*SPLITS, "all"))
    tree = listing.tree(root)
    if splits is None:
        rows = _by_hash(_find(tree, suffixes), holdout, seed, group)
    else:
        rows = from_csv(splits, fold)
    classes = sorted({row["label"] for row in rows if row["label"]})
    number = listing.numbered(classes)
    chosen = sorted((r for r in rows if split in ("all", r["split"])), key=lambda r: r["path"])
    if not chosen:
        there = {s: sum(row["split"] == s for row in rows) for s in SPLITS}
        remedy = f"fold (is {fold})" if splits else f"holdout (is {holdout})"
        raise NoRecords(f"split {split!r} of {root} has no record, of {there}: change {remedy}")
    known = {path: path for path in (*tree.files, *tree.odd)}
    found = []
    for row in chosen:
        record = dict(label=number.get(row["label"], -1))
        found.append(((row["path"],), record | ({"group": row["group"]} if row["group"] else {})))
    name = f"{pathlib.Path(root).name}/{split}"
    return listing.source(name, tree, known, found, classes, quarantine)


def _find(tree, suffixes):
    """Paths of the videos, relative to the root, in sorted order."""
    found = listing.paths(tree, suffixes)
    if not found:
        raise FileNotFoundError(
            f"no video in {tree.root}: looked for names that end in {tuple(suffixes)}"
        )
    return found


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


def from_csv(file, fold):
    """The rows of a CSV of paths and splits: {"path", "split", "label", "group"}, all names."""
    rows = listing.table(file, ("path",))
    columns = list(rows[0]) if rows else []
    column = f"split{fold}" if f"split{fold}" in columns else "split"
    if rows and column not in columns:
        raise ValueError(f"{file} has no column 'split' (or split{fold}), only {columns}")
    wrong = sorted({row[column] for row in rows} - set(SPLITS))
    if wrong:
        raise ValueError(f"{file}: column {column} holds {wrong[:5]}: use {SPLITS}")
    seen = {}
    for row in rows:
        path = _inside(file, row["path"])
        if path in seen:
            raise ValueError(f"{file} names {row['path']!r} twice: keep one row")
        seen[path] = _row(path, row[column], row.get("label"), row.get("group") or "")
    return list(seen.values())


def _row(path, split, label=None, group=""):
    folder = path.split("/")[0] if "/" in path else ""
    return dict(path=path, split=split, label=folder if label is None else label, group=group)


def _inside(file, path):
    """The path in its plain form; refused if it leaves the root or is no mere path to FFmpeg."""
    parts = pathlib.PurePosixPath(path).parts
    if not parts or os.path.isabs(path) or ".." in parts or ":" in parts[0] or "\0" in path:
        raise ValueError(
            f"{file} names {path[:200]!r}: paths are relative to the root and inside it"
        )
    return posixpath.normpath(path)
