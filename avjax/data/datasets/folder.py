"""Any folder of videos as a Source: folder names are labels, and may be splits.

    ROOT/<class>/...            the first folder is the label; a hash divides train and test
    ROOT/<split>/<class>/...    if all first folders are named train, val or test (or training,
                                valid, validation, testing, in any case), they are splits and
                                the next one is the label

A single folder "train" beside other classes is a class like them; two or more split folders
beside others are refused, since they might be either.  Files may be in deeper folders, or in
none (no label).  The hash divides by groups (avjax.data.files.groups), and files of equal
content stay together.
"""

import os
import pathlib
from collections.abc import Sequence

from avjax.data.files import duplicates, file_index, groups, listing
from avjax.data.files.splits import (
    SPLITS,
    check_split_folders,
    rows_by_class,
    split_by_csv,
    split_by_folders,
    split_by_hash,
)
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
      root: the folder.
      split: "train", "val", "test", or "all".
      splits: CSV file with the columns `path`, relative to `root`, and `split<fold>` or `split`;
        `label` and `group` are optional.  Files that it lists and that do not exist are counted
        and left out.  None: split folders, if there are any; else a hash of each path or group
        decides between "test" and "train".
      fold: number of the column split<fold>.
      holdout: fraction of files in "test" for the hash, 0 to 1; a file stays in its split when
        others come or go, as long as the same rule finds its group.
      seed: of the hash.
      group: None guesses groups from names, by the rule of avjax.data.files.groups; "none" or ""
        does not.  Else a regular expression: files of one folder in whose names it finds the same
        text are a group, e.g. r"_g\\d+_" for UCF101.  A column `group` has precedence.
      suffixes: of the files to take, in any case; avjax.data.files.listing has VIDEO, AUDIO,
        VIDEO_OR_AUDIO.
      quarantine: CSV file with a column `path`, relative to `root`: files to leave out.
      follow_links: follows links that lead out of `root`; else a link to a folder is counted and
        one to a file refused.

    Raises:
      NoRecords: there are records, but none in `split`.
      ValueError, FileNotFoundError: an argument is wrong, or there are no videos.
    """
    listing.check_choice("split", split, (*SPLITS, "all"))
    suffixes = file_index.normalize_suffixes(suffixes)
    tree = listing.scan_folder(root, follow_links)
    rows, notes = _collect_rows(root, tree, split, splits, fold, holdout, seed, group, suffixes)
    classes = sorted({row["label"] for row in rows if row["label"]})
    class_index = listing.class_indices(classes)
    selected = sorted((r for r in rows if split in ("all", r["split"])), key=lambda r: r["path"])
    if not selected:
        raise NoRecords(_empty_split_message(root, split, rows, splits, fold, holdout))
    files = {path: path for path in (*tree.files, *tree.special_files)}
    found = []
    for row in selected:
        record = dict(label=class_index.get(row["label"], -1))
        found.append(((row["path"],), record | ({"group": row["group"]} if row["group"] else {})))
    name = f"{pathlib.Path(root).name}/{split}"
    notes = notes[:1] if split == "all" else notes  # The others are about splits.
    return listing.make_source(name, tree, files, found, classes, quarantine, notes)


def _collect_rows(root, tree, split, splits, fold, holdout, seed, group, suffixes):
    """(rows as of avjax.data.files.splits, notes: ignored files, classes, groups, duplicates)."""
    if isinstance(holdout, bool) or not isinstance(holdout, (int, float)) or not 0 <= holdout <= 1:
        raise ValueError(f"holdout={holdout!r}: use a number from 0 to 1, the share of test files")
    if splits is None:
        paths = _find_videos(tree, suffixes)
        if split != "all":
            check_split_folders(paths)
        explicit_rows, ignored_note = (
            split_by_folders(paths),
            file_index.ignored_files_note(tree, suffixes),
        )
    else:
        roots = (tree.root, str(pathlib.Path(root).absolute()))
        explicit_rows, ignored_note = (
            split_by_csv(splits, fold, roots, {*tree.files, *tree.special_files}),
            "",
        )
    grouped_rows, origin = groups.assign_groups(explicit_rows or rows_by_class(paths), group)
    existing = set(tree.files)
    paths = [row["path"] for row in grouped_rows if row["path"] in existing]
    compare = split != "all" and len(paths) <= duplicates.MAX_FILES
    duplicate_sets = duplicates.find_duplicates(tree.root, paths) if compare else []
    rows = (
        grouped_rows
        if explicit_rows
        else split_by_hash(grouped_rows, holdout, seed, duplicate_sets)
    )
    one_class = "" if explicit_rows else _one_class_note(tree, rows)
    found = [a | {"split": b["split"]} for a, b in zip(grouped_rows, rows) if a["path"] in existing]
    split_notes = (
        groups.groups_note(found, origin, bool(explicit_rows)),
        _split_duplicates_note(rows, duplicate_sets),
    )
    return rows, (ignored_note, one_class, *split_notes)


def _one_class_note(tree, rows):
    """A note if the sub-folders of a single class might be meant as classes; or ""."""
    classes, folders = {row["label"] for row in rows}, {row["folder"] for row in rows}
    if len(classes) > 1 or len(folders) < 2 or not all(folders):
        return ""
    name = next(iter(classes))
    return (
        f"one class, {name!r}, with files in {len(folders):,} folders: if these are the classes, "
        f"set root to {os.path.join(tree.root, name)}"
    )


def _split_duplicates_note(rows, duplicate_sets):
    """A note on files of equal content in several splits; or ""."""
    split = {row["path"]: row["split"] for row in rows}
    split_sets = [paths for paths in duplicate_sets if len({split[path] for path in paths}) > 1]
    if not split_sets:
        return ""
    first, second = (
        split_sets[0][0],
        next(p for p in split_sets[0] if split[p] != split[split_sets[0][0]]),
    )
    return (
        f"{len(split_sets):,} file{'s' * (len(split_sets) > 1)} with copies in another split, e.g. "
        f"{first!r} "
        f"({split[first]}) and {second!r} ({split[second]}): remove one, or name it in a quarantine"
    )


def _find_videos(tree, suffixes):
    """Sorted paths of the videos, relative to the root; an error says what is there."""
    if found := listing.paths_with_suffix(tree, suffixes):
        return found
    line = f"no video in {tree.root}: looked for names that end in {' '.join(suffixes)}"
    count = len(tree.files)
    line += f"; it holds {count:,} other files ({file_index.suffix_counts(tree.files)})" * bool(
        count
    )
    line += "; it holds no file" * (not count)
    if num_audio := len(listing.paths_with_suffix(tree, listing.AUDIO)):
        line += f"; for its {num_audio:,} audio files, add --require audio to prepare"
    if tree.links:
        line += f"; {file_index.unfollowed_links_note(tree)}"
    raise FileNotFoundError(line)


def _empty_split_message(root, split, rows, splits, fold, holdout):
    """Why a split is empty, and what to do."""
    existing = {s: sum(row["split"] == s for row in rows) for s in SPLITS}
    names = [name for name, count in existing.items() if count]
    if splits:
        remedy = f"name files of it in {splits}, or change fold (is {fold})"
    elif split_by_folders([row["path"] for row in rows]):
        hint = f"; {root}/{names[0]} as root has a part held out" * (len(names) == 1)
        remedy = f"use the split {' or '.join(names)}, or add a folder {split}{hint}"
    else:
        remedy = f"change holdout (is {holdout})"
    return f"split {split!r} of {root} has no record, of {existing}: {remedy}"
