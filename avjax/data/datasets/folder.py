"""Any folder of videos as a Source: names of folders are labels, and may be splits.

    ROOT/<class>/...            the first folder is the label; a hash divides train and test
    ROOT/<split>/<class>/...    train, val, test (or training, valid, validation, testing, in any
                                case) as the only first folders are splits, the next one the label

A first folder "train" beside other classes is a class like them; two or more split folders beside
others are refused, since they might be either.  Files may be in deeper folders, or in none (no
label).  What a hash divides, it divides by groups (avjax.data.files.groups), and files of equal
content stay together.
"""

import os
import pathlib
from collections.abc import Sequence

from avjax.data.files import duplicates, file_index, groups, listing
from avjax.data.files.splits import SPLITS, by_classes, by_folders, by_hash, check_folders, from_csv
from avjax.data.source import NoRecords, Source

SUFFIXES = listing.VIDEO


def make(
    root: str,
    split: str,
    splits: str | None = None,
    fold: int = 1,
    holdout: float = 0.2,
    seed: int = 0,
    group: str | None = None,
    suffixes: Sequence[str] | str = SUFFIXES,
    quarantine: str | None = None,
    follow_links: bool = False,
) -> Source:
    """Returns a Source of the videos under `root` that belong to `split`.

    Args:
      split: "train", "val", "test", or "all".
      splits: a CSV file with a column `path`, relative to `root`, and a column
        `split<fold>` or `split`; `label` and `group` if there are such columns.  Files that
        it names and that are not there are counted, and left out.  None: the folders of
        splits, if there are such; else a hash of each path or group puts it into "test" or
        "train".
      holdout: for the hash, the share of files in "test", 0 to 1; a file stays in its split when
        others come or go, as long as the same rule finds its group.
      group: None guesses groups from names, by the rule of avjax.data.files.groups; "none" or ""
        does not.  Else a regular expression; files of one folder in whose names it finds the same
        text are a group, e.g. r"_g\\d+_" for UCF101.  A column `group` counts more.
      suffixes: of the files to take, in any case; avjax.data.files.listing has VIDEO, SOUND,
        EITHER.
      quarantine: a CSV file with a column `path`, relative to `root`: files to leave out.
      follow_links: whether links that lead out of `root` are followed; else one to a folder is
        counted, one to a file refused.

    Raises:
      NoRecords: there are records, but none in `split`.
    """
    listing.one_of("split", split, (*SPLITS, "all"))
    suffixes = file_index.normalized(suffixes)
    tree = listing.tree(root, follow_links)
    rows, notes = _rows(root, tree, split, splits, fold, holdout, seed, group, suffixes)
    classes = sorted({row["label"] for row in rows if row["label"]})
    number = listing.numbered(classes)
    chosen = sorted((r for r in rows if split in ("all", r["split"])), key=lambda r: r["path"])
    if not chosen:
        raise NoRecords(_no_records(root, split, rows, splits, fold, holdout))
    known = {path: path for path in (*tree.files, *tree.odd)}
    found = []
    for row in chosen:
        record = dict(label=number.get(row["label"], -1))
        found.append(((row["path"],), record | ({"group": row["group"]} if row["group"] else {})))
    name = f"{pathlib.Path(root).name}/{split}"
    notes = notes[:1] if split == "all" else notes  # The others are about splits.
    return listing.source(name, tree, known, found, classes, quarantine, notes)


def _rows(root, tree, split, splits, fold, holdout, seed, group, suffixes):
    """(rows as of avjax.data.files.splits, notes: files passed over, classes, groups, copies)."""
    if isinstance(holdout, bool) or not isinstance(holdout, (int, float)) or not 0 <= holdout <= 1:
        raise ValueError(f"holdout={holdout!r}: use a number from 0 to 1, the share of test files")
    if splits is None:
        paths = _find(tree, suffixes)
        if split != "all":
            check_folders(paths)
        given, passed_over = by_folders(paths), file_index.passed_over(tree, suffixes)
    else:
        roots = (tree.root, str(pathlib.Path(root).absolute()))
        given, passed_over = from_csv(splits, fold, roots, {*tree.files, *tree.odd}), ""
    named, origin = groups.grouped(given or by_classes(paths), group)
    there = set(tree.files)
    paths = [row["path"] for row in named if row["path"] in there]
    compared = split != "all" and len(paths) <= duplicates.MOST
    copies = duplicates.copies(tree.root, paths) if compared else []
    rows = named if given else by_hash(named, holdout, seed, copies)
    one_class = "" if given else _one_class(tree, rows)
    found = [a | {"split": b["split"]} for a, b in zip(named, rows) if a["path"] in there]
    divided = groups.report(found, origin, bool(given)), _divided(rows, copies)
    return rows, (passed_over, one_class, *divided)


def _one_class(tree, rows):
    """In one line that the sub-folders of a single class might be what is meant; or ""."""
    classes, folders = {row["label"] for row in rows}, {row["folder"] for row in rows}
    if len(classes) > 1 or len(folders) < 2 or not all(folders):
        return ""
    name = next(iter(classes))
    return (
        f"one class, {name!r}, with files in {len(folders):,} folders: if these are the classes, "
        f"set root to {os.path.join(tree.root, name)}"
    )


def _divided(rows, copies):
    """In one line the files of equal content that lie in several splits; or ""."""
    split = {row["path"]: row["split"] for row in rows}
    apart = [paths for paths in copies if len({split[path] for path in paths}) > 1]
    if not apart:
        return ""
    first, second = apart[0][0], next(p for p in apart[0] if split[p] != split[apart[0][0]])
    return (
        f"{len(apart):,} file{'s' * (len(apart) > 1)} with copies in another split, e.g. {first!r} "
        f"({split[first]}) and {second!r} ({split[second]}): remove one, or name it in a quarantine"
    )


def _find(tree, suffixes):
    """Paths of the videos, relative to the root, in sorted order; an error says what is there."""
    if found := listing.paths(tree, suffixes):
        return found
    line = f"no video in {tree.root}: looked for names that end in {' '.join(suffixes)}"
    count = len(tree.files)
    line += f"; it holds {count:,} other files ({file_index.by_suffix(tree.files)})" * bool(count)
    line += "; it holds no file" * (not count)
    if sounds := len(listing.paths(tree, listing.SOUND)):
        line += f"; for its {sounds:,} sounds, add --need audio to prepare"
    if tree.links:
        line += f"; {file_index.unfollowed(tree)}"
    raise FileNotFoundError(line)


def _no_records(root, split, rows, splits, fold, holdout):
    """Why a split is empty, and what to do."""
    there = {s: sum(row["split"] == s for row in rows) for s in SPLITS}
    names = [name for name, count in there.items() if count]
    if splits:
        remedy = f"name files of it in {splits}, or change fold (is {fold})"
    elif by_folders([row["path"] for row in rows]):
        only = f"; {root}/{names[0]} as root has a part held out" * (len(names) == 1)
        remedy = f"use the split {' or '.join(names)}, or add a folder {split}{only}"
    else:
        remedy = f"change holdout (is {holdout})"
    return f"split {split!r} of {root} has no record, of {there}: {remedy}"
