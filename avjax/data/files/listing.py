"""A folder and the rows of a published list -> a Source of the files that are there.

What a list says is never taken for a path: the folder is read first, and a name in the list is
only looked up among the names found.  So nothing outside the folder can be reached, whoever
wrote the list, and a file that is missing is a matter of counting.
"""

import logging
import math
import os
import posixpath

from avjax.data.files import file_index
from avjax.data.files.file_index import EITHER, SOUND, VIDEO, by_stem, paths, stem, tree
from avjax.data.files.text_lists import document, lines, short, table, text
from avjax.data.source import NoRecords, Source, found

# What a data set needs to find its files and to read its lists.
__all__ = [
    "EITHER", "SOUND", "VIDEO", "barred", "by_stem", "document", "lines", "numbered", "one_of",
    "paths", "seconds", "short", "source", "stem", "table", "text", "tree",
]  # fmt: skip


def source(name, tree, known, rows, classes, quarantine=None, notes=()):
    """The Source of those rows whose files are there and not in quarantine.

    Args:
      known: {name: path in the tree}.
      rows: (names, record) each, of any length: a record without its path, and the names in
        `known` that its file may have, the best first.
      quarantine: a CSV file with a column `path`, relative to the root: files to leave out.
      notes: lines on the data set as a whole, see Source.
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
                    "use a root that holds both, or, with avjax.data.datasets.folder, set "
                    "follow_links=True"
                )
            records.append(dict(path=os.path.join(tree.root, path), **record))
    notes = tuple(note for note in (*notes, file_index.unfollowed(tree)) if note)
    made = Source(
        name, tuple(records), tuple(classes), listed=len(seen), quarantined=left, notes=notes
    )
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
            f"{tree.root} ({_example(tree)}), e.g. no {short(missing)}: set root to the folder "
            f"that holds them{'; ' * bool(tree.links)}{file_index.unfollowed(tree)}"
        )
    line = f"{made.name}: {found(made)}"
    lost = missing is not None
    line += f", e.g. no {short(missing)}" if lost else ""
    line += f"; {twice:,} listed twice" if twice else ""
    logging.getLogger(__name__).log(logging.WARNING if lost else logging.INFO, "%s", line)


def _example(tree):
    """What a folder holds, in a few words."""
    if not tree.files:
        return "it holds no file"
    return f"{file_index.by_suffix(tree.files)}, e.g. {short(tree.files[0])}"


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
