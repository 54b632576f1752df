"""A folder and the rows of a published list -> a Source of the files that are there.

What a list says is never taken for a path: the folder is read first, and a name in the list is
only looked up among the names found.  So nothing outside the folder can be reached, whoever
wrote the list, and a file that is missing is a matter of counting.
"""

import csv
import io
import json
import logging
import math
import os
import posixpath
import stat
from typing import NamedTuple

from avjax.data.source import NoRecords, Source, found

VIDEO = (".mp4", ".mkv", ".webm", ".avi", ".mov")
SOUND = (".wav", ".flac", ".ogg", ".mp3", ".m4a")
EITHER = (*VIDEO, *SOUND)  # The best first: by_stem takes a video before its sound alone.


class Tree(NamedTuple):
    """What lies under a folder.

    root:  its real path.
    files: paths of regular files, relative to the root, in sorted order.
    odd:   {path: where it leads} of links out of the root; "" for what is no file (FIFOs, links
           to nothing).
    """

    root: str
    files: tuple[str, ...]
    odd: dict[str, str]


def tree(root):
    """The Tree of the folder `root`; links to folders are not followed."""
    if not os.path.isdir(root):
        raise FileNotFoundError(f"no folder {root}: set root to the folder of the files")
    real = os.path.realpath(root)
    files, odd, folders = [], {}, [""]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(os.path.join(real, folder)))
        except PermissionError as error:  # Such as lost+found, which is not the user's.
            logging.getLogger(__name__).warning("left out %s: %s", error.filename, error.strerror)
            continue
        for entry in entries:
            path = f"{folder}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                folders.append(f"{path}/")
            elif entry.name.startswith("."):  # Such as the "._x.mp4" of a Mac.
                continue
            elif entry.is_symlink():
                whole = os.path.realpath(entry.path)
                if os.path.commonpath([whole, real]) != real:
                    odd[path] = whole
                elif os.path.isfile(whole):
                    files.append(path)
                elif not os.path.isdir(whole):
                    odd[path] = ""
            elif entry.is_file(follow_symlinks=False):
                files.append(path)
            else:
                odd[path] = ""
    return Tree(real, tuple(sorted(files)), odd)


def paths(tree, suffixes):
    """All paths, odd ones too, that end in one of `suffixes`, in any case; sorted."""
    suffixes = tuple(suffix.lower() for suffix in suffixes)
    return sorted(p for p in (*tree.files, *tree.odd) if p.lower().endswith(suffixes))


def by_stem(tree, suffixes):
    """{name without its ending: path}; of several, the first suffix counts, then the first path."""
    ordered = sorted(
        paths(tree, suffixes), key=lambda path: suffixes.index(posixpath.splitext(path)[1].lower())
    )
    return {stem(path): path for path in reversed(ordered)}


def stem(path):
    """The name of a file without its folders and its ending."""
    return posixpath.splitext(posixpath.basename(path))[0]


def source(name, tree, known, rows, classes, quarantine=None):
    """The Source of those rows whose files are there and not in quarantine.

    Args:
      known: {name: path in the tree}.
      rows: (names, record) each, of any length: a record without its path, and the names in
        `known` that its file may have, the best first.
      quarantine: a CSV file with a column `path`, relative to the root: files to leave out.
    """
    left_out = barred(quarantine)
    records, seen, twice, missing, left = [], set(), 0, None, 0
    for names, record in rows:
        names = iter(names)
        first = next(names)
        path = known.get(first) or next((known[n] for n in names if n in known), None)
        key = path or first
        if "start" in record:
            key = key, record["start"], record["end"]
        if key in seen:
            twice += 1
            continue
        seen.add(key)
        if path is None or tree.odd.get(path) == "":
            missing = first if missing is None else missing
        elif path in left_out:
            left += 1
        else:
            if path in tree.odd:
                raise ValueError(
                    f"{path!r} is a link out of {tree.root}, to {tree.odd[path]}: copy the file, "
                    "or use a root that holds both"
                )
            records.append(dict(path=os.path.join(tree.root, path), **record))
    made = Source(name, tuple(records), tuple(classes), listed=len(seen), quarantined=left)
    _tell(made, tree, missing, twice, quarantine)
    return made


def barred(quarantine):
    """The paths that a quarantine names."""
    if quarantine is None:
        return frozenset()
    return frozenset(posixpath.normpath(row["path"]) for row in table(quarantine, ("path",)))


def _tell(made, tree, missing, twice, quarantine):
    """Logs what was found, and the name of the first that was not; raises if all are missing."""
    if not made.listed:
        raise NoRecords(f"{made.name}: nothing is listed for this split; check the list")
    if not made.records and made.quarantined:
        raise ValueError(f"{made.name}: {quarantine} names every file there is: check it")
    if not made.records:
        raise FileNotFoundError(
            f"{made.name}: none of its {made.listed:,} files is among {len(tree.files):,} in "
            f"{tree.root}, e.g. no {short(missing)}: set root to the folder that holds them (links "
            "to folders are not followed)"
        )
    line = f"{made.name}: {found(made)}"
    lost = missing is not None
    line += f", e.g. no {short(missing)}" if lost else ""
    line += f"; {twice:,} listed twice" if twice else ""
    logging.getLogger(__name__).log(logging.WARNING if lost else logging.INFO, "%s", line)


def table(file, needed=(), columns=None):
    """The rows of a CSV file as dictionaries; a ValueError names what is wrong with the file.

    needed: columns that must be there.  columns: their names, where no first line says them.
    """
    lines, rows = csv.DictReader(io.StringIO(text(file), newline=""), columns, strict=True), []
    try:
        there = list(lines.fieldnames or ())
        for name in needed:
            if name not in there:
                raise ValueError(f"{file} has no column {name!r}, only {short(there)}")
        for row in lines:
            if None in row or None in row.values():
                raise ValueError(f"{file}: record {len(rows) + 1} has not {len(there)} cells")
            rows.append(row)
    except csv.Error as error:
        raise ValueError(f"{file}: record {len(rows) + 1} is not CSV: {error}") from error
    return rows


def lines(file):
    """The lines of a text file, without those that are blank."""
    return [line for line in map(str.strip, text(file).split("\n")) if line]


def document(file):
    """What a JSON file holds; numbers that are none (NaN) included."""
    try:
        return json.loads(text(file))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON: {error}") from error


def text(file):
    """What a list holds, as text without a byte order mark."""
    if not os.path.exists(file):
        raise FileNotFoundError(f"no file {file}: it comes with the data set; say where it is")
    if not stat.S_ISREG(os.stat(file).st_mode):  # A FIFO would hang, a device never end.
        raise ValueError(f"{file} is not a regular file: name the list itself")
    with open(file, "rb") as data:
        try:
            return data.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{file} is not UTF-8 text: {error}") from error


def numbered(names):
    """{name: row} of the classes, in their order."""
    return {name: i for i, name in enumerate(names)}


def seconds(file, cell):
    """A cell as seconds, a number of 0 or more."""
    try:
        value = float(cell)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 <= value < math.inf:
        raise ValueError(f"{file}: {short(cell)} is no time in seconds")
    return value


def one_of(name, value, choices):
    """Raises unless an argument is one of its choices."""
    if value not in choices:
        raise ValueError(f"unknown {name} {value!r}: use one of {tuple(choices)}")


def short(value):
    """What a list said, fit to be shown on one line."""
    told = repr(value)
    return told if len(told) <= 100 else f"{told[:100]}..."
