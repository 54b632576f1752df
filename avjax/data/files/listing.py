"""A folder and the rows of a published list -> a Source of the files that exist.

Text in a list is never used as a path: the folder is read first, and a name in the list is only
looked up among the names found.  So a list cannot reach files outside the folder, and a missing
file is only counted.
"""

import logging
import math
import os
import posixpath
from collections.abc import Iterable, Mapping, Sequence

from avjax.data.files import file_index
from avjax.data.files.file_index import (
    AUDIO,
    VIDEO,
    VIDEO_OR_AUDIO,
    index_by_stem,
    paths_with_suffix,
    scan_folder,
    stem,
)
from avjax.data.files.text_lists import read_csv, read_json, read_lines, read_text, truncated_repr
from avjax.data.source import NoRecords, Source, coverage
from avjax.runtime import csv_file

# What a data set needs to find its files and to read its lists.
__all__ = [
    "AUDIO", "VIDEO", "VIDEO_OR_AUDIO", "check_choice", "class_indices", "index_by_stem",
    "make_source", "parse_seconds", "paths_with_suffix", "read_csv", "read_json", "read_lines",
    "read_quarantine", "read_text", "scan_folder", "stem", "truncated_repr",
]  # fmt: skip


def make_source(
    name: str,
    tree: file_index.FileTree,
    files: Mapping[str, str],
    rows: Iterable[tuple[Iterable[str], dict]],
    classes: Iterable[str],
    quarantine: str | None = None,
    notes: Sequence[str] = (),
) -> Source:
    """Returns the Source of those rows whose files exist and are not in quarantine.

    Args:
      name: of the Source.
      tree: the FileTree of its root.
      files: {name: path in the tree}.
      rows: any iterable of (names, record): a record without its path, and the names in `files`
        that its file may have, the best first.
      classes: names of the classes.
      quarantine: CSV file with a column `path`, relative to the root: files to leave out.
      notes: remarks on the whole data set, see Source.

    Raises:
      NoRecords, FileNotFoundError, ValueError: nothing is left, with the reason.
    """
    excluded = read_quarantine(quarantine)
    records, seen, num_repeated, missing, num_quarantined = [], set(), 0, None, 0
    for names, record in rows:
        names = iter(names)
        first = next(names)
        path = files.get(first) or next((files[n] for n in names if n in files), None)
        key = path or first
        if "start" in record:
            key = key, record["start"], record["end"]
        if key in seen:
            num_repeated += 1
            continue
        seen.add(key)
        if path is None or tree.special_files.get(path) == "":
            missing = first if missing is None else missing
        elif path in excluded:
            num_quarantined += 1
        else:
            if path in tree.special_files:
                raise ValueError(
                    f"{path!r} is a link out of {tree.root}, to {tree.special_files[path]}: copy "
                    f"the file, "
                    "use a root that holds both, or, with avjax.data.datasets.folder, set "
                    "follow_links=True"
                )
            records.append(dict(path=os.path.join(tree.root, path), **record))
    notes = tuple(note for note in (*notes, file_index.unfollowed_links_note(tree)) if note)
    source = Source(
        name,
        tuple(records),
        tuple(classes),
        num_listed=len(seen),
        num_quarantined=num_quarantined,
        notes=notes,
    )
    _log_coverage(source, tree, missing, num_repeated, quarantine)
    return source


def read_quarantine(quarantine: str | None) -> frozenset[str]:
    """Returns the paths that a quarantine lists.

    Args:
      quarantine: CSV file with a column `path`; None for no quarantine.
    """
    if quarantine is None:
        return frozenset()
    rows = read_csv(quarantine, ("path",))
    return frozenset(posixpath.normpath(csv_file.unescape(row["path"])) for row in rows)


def _log_coverage(source, tree, missing, num_repeated, quarantine):
    """Logs what was found, and the first missing file; raises if all are missing."""
    if not source.num_listed:
        raise NoRecords(f"{source.name}: nothing is listed for this split; check the list")
    if not source.records and source.num_quarantined:
        raise ValueError(f"{source.name}: {quarantine} names every file there is: check it")
    if not source.records:
        raise FileNotFoundError(
            f"{source.name}: none of its {source.num_listed:,} files is among {len(tree.files):,} "
            f"in "
            f"{tree.root} ({_folder_summary(tree)}), e.g. no {truncated_repr(missing)}: set root "
            f"to the folder "
            f"that holds them{'; ' * bool(tree.links)}{file_index.unfollowed_links_note(tree)}"
        )
    message = f"{source.name}: {coverage(source)}"
    has_missing = missing is not None
    message += f", e.g. no {truncated_repr(missing)}" if has_missing else ""
    message += f"; {num_repeated:,} listed twice" if num_repeated else ""
    logging.getLogger(__name__).log(logging.WARNING if has_missing else logging.INFO, "%s", message)


def _folder_summary(tree):
    """What a folder holds, in a few words."""
    if not tree.files:
        return "it holds no file"
    return f"{file_index.suffix_counts(tree.files)}, e.g. {truncated_repr(tree.files[0])}"


def class_indices(names: Iterable[str]) -> dict[str, int]:
    """Returns {name: index} of the classes, in their order."""
    return {name: i for i, name in enumerate(names)}


def parse_seconds(file: str, cell: object) -> float:
    """Returns a cell as seconds, 0 or more; raises ValueError for anything else.

    Args:
      file: name of the list, for the message.
      cell: a number or its text.
    """
    try:
        value = float(cell)  # pyright: ignore[reportArgumentType] (that is what is tried)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 <= value < math.inf:
        raise ValueError(f"{file}: {truncated_repr(cell)} is no time in seconds")
    return value


def check_choice(name: str, value: object, choices: Sequence) -> None:
    """Raises ValueError unless an argument is one of its choices."""
    if value not in choices:
        raise ValueError(f"unknown {name} {value!r}: use one of {tuple(choices)}")
