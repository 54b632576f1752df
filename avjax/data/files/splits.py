"""Which split each file of a folder belongs to: by folders, by a CSV file, or by a hash.

Each gives rows {"path", "split", "label", "group", "folder"}: names all of them, "" where there is
none.  `folder` is that of the file without the folder of its split: groups lie within it.
"""

import hashlib
import os
import pathlib
import posixpath

from avjax.data.files.file_index import EITHER, stem
from avjax.data.files.text_lists import short, table

SPLITS = ("train", "val", "test")
# Other names of splits, in lists and of folders, in any case.
SPELLINGS = dict(
    train="train", training="train", val="val", valid="val", validation="val", validate="val",
    test="test", testing="test",
)  # fmt: skip
# Names of columns, the first that is there counts.
PATH = ("path", "file", "filename", "file_name", "filepath", "file_path", "video", "video_path")
LABEL = ("label", "class", "class_name")


def by_folders(paths) -> list[dict] | None:
    """Rows of <split>/<class>/... or <split>/..., where that is how the folder is laid out.

    It is if the first folders of all files are names of splits (SPELLINGS); else None.
    """
    named, others = _firsts(paths)
    if others or not named:
        return None
    splits = [SPELLINGS[path.partition("/")[0].lower()] for path in paths]
    return [_row(path, split, split_folder=True) for path, split in zip(paths, splits)]


def check_folders(paths) -> None:
    """Raises ValueError where first folders may be splits or classes, or two are one split.

    A single one with the name of a split beside others is a class like them; several are not.
    """
    named, others = _firsts(paths)
    if others and len(named) > 1:
        stray = others[0] or next(path for path in paths if "/" not in path)
        raise ValueError(
            f"folders of splits {named} lie beside {stray!r}: move it out, or list all files in a "
            "CSV of path,split,label (splits=FILE)"
        )
    if not others and len({SPELLINGS[first.lower()] for first in named}) < len(named):
        raise ValueError(f"of the folders {named} two are one split: keep one, or join them")


def _firsts(paths):
    """(first folders with names of splits, the others; "" for files in none)."""
    firsts = dict.fromkeys(path.partition("/")[0] if "/" in path else "" for path in paths)
    named = [first for first in firsts if first.lower() in SPELLINGS]
    return named, [first for first in firsts if first not in named]


def by_classes(paths) -> list[dict]:
    """Rows of <class>/...; no split yet."""
    return [_row(path, "") for path in paths]


def by_hash(rows, holdout, seed, copies) -> list[dict]:
    """Rows with the split of each set: a share `holdout` in "test", the others in "train".

    A group stays together, and so do files of equal content, whose groups are joined.  Of two sets
    or more at least one is in each split, unless `holdout` is 0 or 1.

    Args:
      copies: sets of paths of equal content.
    """
    group = _joined({row["path"]: row["group"] or row["path"] for row in rows}, copies)
    value = {key: _value(key, seed) for key in group.values()}
    test = {key for key in value if value[key] < holdout * 2**64}
    if len(value) > 1 and 0 < holdout < 1:
        test = test or {min(value, key=value.get)}
        test -= {max(value, key=value.get)} if len(test) == len(value) else set()
    out = []
    for row in rows:
        key = group[row["path"]]
        named = key if row["group"] or key != row["path"] else ""
        out.append(row | dict(split="test" if key in test else "train", group=named))
    return out


def _joined(keys, copies):
    """{path: key} with the keys of each set of `copies` made one, the first in sorted order."""
    first_of = {}

    def first(key):
        while key in first_of:
            key = first_of[key]
        return key

    for paths in copies:
        one, *others = sorted({first(keys[path]) for path in paths})
        first_of |= dict.fromkeys(others, one)
    return {path: first(key) for path, key in keys.items()}


def _value(key, seed):
    data = f"{seed}:{key}".encode(errors="surrogateescape")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def from_csv(file, fold, roots=(), known=()) -> list[dict]:
    """Rows of a CSV of paths and splits, by `column`s path, split<fold> or split, label, group.

    Args:
      file: see avjax.data.files.text_lists.table.
      roots: names of the folder; an absolute path in one of them is taken as relative to it.
      known: the paths that there are; one of them may lack its suffix in the list.
    """
    rows = table(file)
    columns = list(rows[0]) if rows else []
    if not rows:
        raise ValueError(f"{file} has no rows below its first line: list files with their split")
    path_at, label_at = _column(file, PATH, columns), _column(file, LABEL, columns, "label")
    split_at = f"split{fold}" if f"split{fold}" in columns else "split"
    if split_at not in columns:
        raise ValueError(f"{file} has no column 'split' (or split{fold}), only {columns}")
    wrong = sorted({row[split_at] for row in rows if _split(row[split_at]) not in SPLITS})
    if wrong:
        raise ValueError(f"{file}: column {split_at} holds {short(wrong[:5])}: use {SPLITS}")
    known, found = set(known), {}
    stems = _without_suffix(known)
    for row in rows:
        path = _inside(file, row[path_at], roots, known)
        path = path if path in known else stems.get(path, path)
        if path in found:
            raise ValueError(f"{file} names {row[path_at]!r} twice: keep one row")
        label = row.get(label_at)
        if label and any("\udc80" <= letter <= "\udcff" for letter in label):
            raise ValueError(f"{file}: label {label!r} is not UTF-8 text: save the file as UTF-8")
        found[path] = row
    in_folders = all("/" in path and path.split("/")[0].lower() in SPELLINGS for path in found)
    return [
        _row(path, _split(row[split_at]), row.get(label_at), row.get("group") or "", in_folders)
        for path, row in found.items()
    ]


def _column(file, names, columns, default=None):
    """The one of `names` that is a column; `default`, or a ValueError, where none is."""
    there = [name for name in names if name in columns]
    if not there and default is None:
        raise ValueError(
            f"{file} has no column {names[0]!r} (nor {', '.join(names[1:])}), only "
            f"{short(columns)}: its first line must name the columns, e.g. path,split,label"
        )
    return there[0] if there else default


def _split(cell):
    return SPELLINGS.get(cell.strip().lower(), "")


def _row(path, split, label=None, group="", split_folder=False):
    """A row; its label is the first folder of the path, after that of the split if there is one."""
    folders = path.split("/")[:-1][split_folder:]
    label = (folders[0] if folders else "") if label is None else label.strip()
    return dict(path=path, split=split, label=label, group=group, folder="/".join(folders))


def _without_suffix(paths):
    """{path without its suffix: path}, where one file of a media suffix has it."""
    found, twice = {}, set()
    for path in paths:
        name = posixpath.join(posixpath.dirname(path), stem(path))
        if path.lower().endswith(EITHER):
            twice |= {name} & found.keys()
            found[name] = path
    return {name: path for name, path in found.items() if name not in twice}


def _inside(file, cell, roots, known):
    """The path in its plain form; refused if it leaves the root or is no mere path to FFmpeg."""
    if cell in known:
        return cell
    path = cell.replace("\\", "/") if "/" not in cell else cell
    for root in roots if os.path.isabs(path) else ():
        inside = os.path.normpath(path).removeprefix(os.path.join(root, ""))
        path = path if os.path.isabs(inside) else inside
    parts = pathlib.PurePosixPath(path).parts
    if not parts or os.path.isabs(path) or ".." in parts or ":" in parts[0] or "\0" in path:
        raise ValueError(
            f"{file} names {cell[:200]!r}: paths are relative to the root and inside it, without "
            "a scheme such as file: or C:"
        )
    return posixpath.normpath(path)
