"""Vectors of a teacher in a file, and the records that they belong to."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avjax.data.files import file_index
from avjax.runtime.regular_files import check_regular

NAMES = ("path", "video", "name")  # Keys of an .npz file that may hold the names of its rows.
CONVERT = (
    "use an .npz file with the names of the records as `path` and the vectors as another array, "
    "e.g. numpy.savez(FILE, path=names, features=vectors), or a folder of one .npy file per record"
)


class Vectors(NamedTuple):
    """Named vectors.

    Attributes:
      names: of R records, as they are written in the file.
      values: float32 [R, D].
      digest: a hash of both.
    """

    names: list[str]
    values: np.ndarray
    digest: str


def read(path: str | os.PathLike, column: str | None = None) -> Vectors:
    """Reads the vectors of records; nothing in a file is run as a program.

    Args:
      path: an .npz file as `python -m avjax.embed` writes it: names of records as `path` (or
        `video` or `name`), and arrays with a row for each.  Or a folder of .npy files, one per
        record and named like it, such as CCL's CLASS/VIDEO.npy; of a file with several rows the
        mean is taken, and hidden files are left out.
      column: the array of the .npz file; None for its only one of two dimensions.

    Raises:
      FileNotFoundError: there is no such file or folder.
      ValueError: it is of another format, or its arrays do not fit each other.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f"no such file or folder of vectors: {path}")
    if os.path.isdir(path):
        names, values = _read_folder(Path(path), column)
    elif str(path).endswith(".npz"):
        names, values = _read_npz(path, column)
    else:
        raise ValueError(f"{path} is not a format of vectors that is read: {CONVERT}")
    if len(names) != len(values):
        raise ValueError(f"{path} has {len(names)} names and {len(values)} vectors")
    if not np.isfinite(values).all():
        bad = names[int(np.flatnonzero(~np.isfinite(values).all(1))[0])]
        raise ValueError(f"{path}: the vector of {bad} is not finite: leave it out")
    values = np.ascontiguousarray(values, np.float32)
    digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape"))
    digest.update(values.tobytes())
    return Vectors(names, values, digest.hexdigest())


def _read_npz(path, column):
    check_regular(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except ValueError as error:  # Of an array of Python objects.
        raise ValueError(f"{path} cannot be read: {error}; {CONVERT}") from error
    found = [name for name in NAMES if name in arrays and arrays[name].dtype.kind == "U"]
    if not found:
        raise ValueError(f"{path} has {sorted(arrays)}, and no names of records: {CONVERT}")
    kinds = [name for name, a in arrays.items() if a.ndim == 2 and a.dtype.kind == "f"]
    if column is None and len(kinds) != 1:
        raise ValueError(f"{path} has the vectors {sorted(kinds)}: choose one by `column`")
    if (column or kinds[0]) not in kinds:
        raise ValueError(f"column={column!r}: {path} has the vectors {sorted(kinds)}")
    return [str(name) for name in arrays[found[0]]], arrays[column or kinds[0]]


def _read_folder(folder, column):
    if column is not None:
        raise ValueError(f"column={column!r}: {folder} is a folder of .npy files: leave it out")
    files = sorted(p for p in folder.rglob("*.npy") if not p.name.startswith("."))
    if not files:
        raise ValueError(f"{folder} has no .npy files: {CONVERT}")
    rows = []
    for file in files:
        check_regular(file)
        try:
            value = np.load(file, allow_pickle=False)
        except ValueError as error:
            raise ValueError(f"{file} cannot be read: {error}; {CONVERT}") from error
        # Reference: CCL takes one of several rows at random; its files for UCF51 have one.
        value = value.mean(0) if value.ndim == 2 and len(value) else value
        if value.ndim != 1 or value.dtype.kind != "f":
            raise ValueError(f"{file} has {value.dtype} of shape {value.shape}, and no vector")
        if rows and len(value) != len(rows[0]):
            raise ValueError(f"{file} has {len(value)} numbers, {files[0]} has {len(rows[0])}")
        rows.append(value)
    return [file.relative_to(folder).as_posix() for file in files], np.stack(rows)


def match(names: Sequence[str], paths: Sequence[str], by: str = "path") -> list[int]:
    """Finds the row of each record by its name.

    Endings of media files and .npy do not count.

    Args:
      names: of the rows.
      paths: of the records' files; segments of one file have the same one.
      by: "path" if a name is the end of the path of its record, such as Archery/a.mp4 of
        videos/Archery/a.avi; "stem" if only the names of files count, whatever their folders.

    Returns:
      A row for each record, -1 for none.

    Raises:
      ValueError: a name occurs twice, or is that of several files.
    """
    if by not in ("path", "stem"):
        raise ValueError(f"match={by!r}: use path or stem")
    rows: dict[tuple[str, ...], int] = {}
    for row, name in enumerate(names):
        parts = _parts(name)[-1:] if by == "stem" else _parts(name)
        if parts in rows:
            raise ValueError(f"{names[rows[parts]]!r} and {name!r} name the same record: keep one")
        rows[parts] = row
    lengths = sorted({len(parts) for parts in rows}, reverse=True)
    found, owner = [], {}
    for path in paths:
        parts = _parts(path)
        row = next((rows[parts[-n:]] for n in lengths if parts[-n:] in rows), -1)
        if row >= 0 and owner.setdefault(row, path) != path:
            raise ValueError(
                f"the vector {names[row]!r} may be of {owner[row]} or of {path}: name vectors by "
                "folder and file"
            )
        found.append(row)
    return found


def _parts(name: str) -> tuple[str, ...]:
    """Parts of a path, without the ending."""
    name = name.replace(os.sep, "/")
    for ending in (".npy", *file_index.VIDEO_OR_AUDIO):
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
            break
    return tuple(part for part in name.split("/") if part not in ("", "."))
