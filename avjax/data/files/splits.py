"""The split of each file of a folder: by folders, by a CSV file, or by a hash.

Each function returns rows {"path", "split", "label", "group", "folder"}: names all of them, ""
for none.  `folder` is that of the file without the folder of its split: groups lie within it.
"""

import hashlib
import os
import pathlib
import posixpath
from collections.abc import Collection, Sequence
from typing import Any

from avjax.data.files.file_index import VIDEO_OR_AUDIO, stem
from avjax.data.files.text_lists import read_csv, truncated_repr

SPLITS = ("train", "val", "test")
# Other names of splits, in lists and of folders, in any case.
SPLIT_ALIASES = dict(
    train="train", training="train", val="val", valid="val", validation="val", validate="val",
    test="test", testing="test",
)  # fmt: skip
# Names of columns, the first that is there counts.
PATH_COLUMNS = (
    "path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "video",
    "video_path",
)
LABEL_COLUMNS = ("label", "class", "class_name")


def split_by_folders(paths: Sequence[str]) -> list[dict] | None:
    """Returns rows of <split>/<class>/... or <split>/..., or None for another layout.

    It is that layout if the first folders of all files are names of splits (SPLIT_ALIASES).
    """
    split_folders, others = _first_folders(paths)
    if others or not split_folders:
        return None
    splits = [SPLIT_ALIASES[path.partition("/")[0].lower()] for path in paths]
    return [_row(path, split, split_folder=True) for path, split in zip(paths, splits)]


def check_split_folders(paths: Sequence[str]) -> None:
    """Raises ValueError if first folders may be splits or classes, or two are one split.

    A single folder with the name of a split beside others is a class; several are refused.
    """
    split_folders, others = _first_folders(paths)
    if others and len(split_folders) > 1:
        stray = others[0] or next(path for path in paths if "/" not in path)
        raise ValueError(
            f"folders of splits {split_folders} lie beside {stray!r}: move it out, or list all "
            f"files in a "
            "CSV of path,split,label (splits=FILE)"
        )
    if not others and len({SPLIT_ALIASES[first.lower()] for first in split_folders}) < len(
        split_folders
    ):
        raise ValueError(
            f"of the folders {split_folders} two are one split: keep one, or join them"
        )


def _first_folders(paths):
    """(first folders with names of splits, the others; "" for files in none)."""
    top_folders = dict.fromkeys(path.partition("/")[0] if "/" in path else "" for path in paths)
    split_folders = [first for first in top_folders if first.lower() in SPLIT_ALIASES]
    return split_folders, [first for first in top_folders if first not in split_folders]


def rows_by_class(paths: Sequence[str]) -> list[dict]:
    """Returns rows of <class>/...; no split yet."""
    return [_row(path, "") for path in paths]


def split_by_hash(
    rows: Sequence[dict], holdout: float, seed: int, duplicates: Sequence[Sequence[str]]
) -> list[dict]:
    """Returns rows with the split of each set: a fraction `holdout` in "test", the rest in "train".

    A group stays together, and so do files of equal content, whose groups are joined.  With two
    sets or more each split gets at least one, unless `holdout` is 0 or 1.

    Args:
      rows: without a split.
      holdout: fraction of the sets in "test", 0 to 1.
      seed: of the hash.
      duplicates: sets of paths of equal content.
    """
    group = _merge_groups({row["path"]: row["group"] or row["path"] for row in rows}, duplicates)
    hash_of = {key: _hash_value(key, seed) for key in group.values()}
    test = {key for key in hash_of if hash_of[key] < holdout * 2**64}
    if len(hash_of) > 1 and 0 < holdout < 1:
        test = test or {min(hash_of, key=hash_of.__getitem__)}
        test -= {max(hash_of, key=hash_of.__getitem__)} if len(test) == len(hash_of) else set()
    out = []
    for row in rows:
        key = group[row["path"]]
        group_name = key if row["group"] or key != row["path"] else ""
        out.append(row | dict(split="test" if key in test else "train", group=group_name))
    return out


def _merge_groups(keys, duplicates):
    """{path: key} with the keys of each set of `duplicates` made one, the first in sorted order."""
    first_of = {}

    def first(key):
        while key in first_of:
            key = first_of[key]
        return key

    for paths in duplicates:
        one, *others = sorted({first(keys[path]) for path in paths})
        first_of |= dict.fromkeys(others, one)
    return {path: first(key) for path, key in keys.items()}


def _hash_value(key, seed):
    data = f"{seed}:{key}".encode(errors="surrogateescape")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def split_by_csv(
    file: str, fold: int, roots: Sequence[str] = (), existing: Collection[str] = ()
) -> list[dict]:
    """Returns rows of a CSV file with the columns path, split<fold> or split, label, group.

    Args:
      file: see avjax.data.files.text_lists.read_csv.
      fold: number of the column split<fold>.
      roots: names of the folder; an absolute path in one of them is taken as relative to it.
      existing: the paths that exist; the list may omit their suffix.

    Raises:
      ValueError: a column is missing, or a cell is wrong.
    """
    rows = read_csv(file)
    columns = list(rows[0]) if rows else []
    if not rows:
        raise ValueError(f"{file} has no rows below its first line: list files with their split")
    path_at, label_at = (
        _find_column(file, PATH_COLUMNS, columns),
        _find_column(file, LABEL_COLUMNS, columns, "label"),
    )
    split_at = f"split{fold}" if f"split{fold}" in columns else "split"
    if split_at not in columns:
        raise ValueError(f"{file} has no column 'split' (or split{fold}), only {columns}")
    invalid = sorted(
        {row[split_at] for row in rows if _canonical_split(row[split_at]) not in SPLITS}
    )
    if invalid:
        raise ValueError(
            f"{file}: column {split_at} holds {truncated_repr(invalid[:5])}: use {SPLITS}"
        )
    existing, found = set(existing), {}
    stems = _paths_by_stem(existing)
    for row in rows:
        path = _relative_path(file, row[path_at], roots, existing)
        path = path if path in existing else stems.get(path, path)
        if path in found:
            raise ValueError(f"{file} names {row[path_at]!r} twice: keep one row")
        label = row.get(label_at or "")
        if label and any("\udc80" <= letter <= "\udcff" for letter in label):
            raise ValueError(f"{file}: label {label!r} is not UTF-8 text: save the file as UTF-8")
        found[path] = row
    in_folders = all("/" in path and path.split("/")[0].lower() in SPLIT_ALIASES for path in found)
    return [
        _row(
            path,
            _canonical_split(row[split_at]),
            row.get(label_at or ""),
            row.get("group") or "",
            in_folders,
        )
        for path, row in found.items()
    ]


def _find_column(file, names, columns, default: Any = None) -> Any:
    """The one of `names` that is a column; `default`, or a ValueError, if none is."""
    present = [name for name in names if name in columns]
    if not present and default is None:
        raise ValueError(
            f"{file} has no column {names[0]!r} (nor {', '.join(names[1:])}), only "
            f"{truncated_repr(columns)}: its first line must name the columns, e.g. "
            f"path,split,label"
        )
    return present[0] if present else default


def _canonical_split(cell):
    return SPLIT_ALIASES.get(cell.strip().lower(), "")


def _row(path, split, label=None, group="", split_folder=False):
    """A row; its label is the first folder of the path, after that of the split if there is one."""
    folders = path.split("/")[:-1][split_folder:]
    label = (folders[0] if folders else "") if label is None else label.strip()
    return dict(path=path, split=split, label=label, group=group, folder="/".join(folders))


def _paths_by_stem(paths):
    """{path without its suffix: path}, if it is the only media file of that name."""
    by_stem, ambiguous = {}, set()
    for path in paths:
        name = posixpath.join(posixpath.dirname(path), stem(path))
        if path.lower().endswith(VIDEO_OR_AUDIO):
            ambiguous |= {name} & by_stem.keys()
            by_stem[name] = path
    return {name: path for name, path in by_stem.items() if name not in ambiguous}


def _relative_path(file, cell, roots, existing):
    """The normalized path; refused if it leaves the root or is a URL to FFmpeg."""
    if cell in existing:
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
