"""Named vectors of a file, memory-mapped where the file allows it.

Nothing in a file is run as a program.
"""

import hashlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avjax.data import vectors
from avjax.runtime.regular_files import check_regular, read_text

NUM_HASHED = 4096  # Rows of a file that its digest reads.
BLOCK = 2**26  # Numbers that are looked at at a time.
USE = (
    "use an .npz file as `avjax embed` writes it (the names of its rows as `path`), an .npy file "
    "with the names beside it, one per line, in a file of the same name that ends in .txt, or a "
    "folder of one .npy file per record"
)


class Named(NamedTuple):
    """Vectors and the records that they belong to.

    Attributes:
      names: of R rows; a name that occurs several times has several clips.
      values: float [R, D].
      valid: bool [R]; False where the record lacks the modality.
      digest: a hash of the names, the shape and of 4,096 rows.
    """

    names: list[str]
    values: np.ndarray
    valid: np.ndarray
    digest: str


def read(path: str | os.PathLike, modality: str, column: str | None = None) -> Named:
    """Reads the vectors of one modality.

    Args:
      path: an .npz, an .npy, or a folder, see USE.  Members of an .npz that are not compressed are
        memory-mapped, as numpy.savez and `avjax embed` write them.
      modality: "video" or "audio".
      column: the array of an .npz; None for "<modality>_features", or else its only one of two
        dimensions.

    Raises:
      FileNotFoundError: a file does not exist.
      ValueError: it is damaged or of another format, or its arrays do not fit each other.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f"no such file or folder of vectors: {path}")
    if os.path.isdir(path):
        found = vectors.read(path, column)
        names, values, valid = found.names, found.values, np.ones(len(found.names), bool)
    else:
        check_regular(path)
        names, values, valid = _read_file(path, modality, column)
    if values.ndim != 2 or values.dtype.kind != "f" or not values.size:
        raise ValueError(
            f"{path} has {values.dtype} of shape {values.shape}, and no vectors: {USE}"
        )
    if not len(names) == len(values) == len(valid):
        raise ValueError(f"{path} has {len(names)} names and {len(values)} vectors: {USE}")
    _check_finite(path, names, values)
    return Named(names, values, valid, _digest(names, values))


def _read_file(path, modality, column):
    """(names, values, valid) of a file."""
    try:
        if str(path).endswith(".npz"):
            return _from_npz(path, map_npz(path), modality, column)
        if str(path).endswith(".npy"):
            values = np.load(path, mmap_mode="r", allow_pickle=False)
            return _names_beside(path), values, np.ones(len(values), bool)
    except FileNotFoundError:
        raise
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, KeyError, TypeError) as error:
        # Also of an array of Python objects, or of a file that is cut off.
        raise ValueError(f"{path} cannot be read: {error}; {USE}") from error
    raise ValueError(f"{path} is not a format of vectors that is read: {USE}")


def _names_beside(path) -> list[str]:
    beside = Path(path).with_suffix(".txt")
    if not beside.is_file():
        raise ValueError(f"no file {beside} with the names of its rows")
    return read_text(beside).splitlines()


def _from_npz(path, arrays: Mapping[str, np.ndarray], modality, column):
    named = [n for n in vectors.NAMES if n in arrays and arrays[n].dtype.kind == "U"]
    if not named:
        raise ValueError(f"it has {sorted(arrays)}, and no names of records")
    matrices = [n for n, a in arrays.items() if a.ndim == 2 and a.dtype.kind == "f"]
    usual = f"{modality}_features"
    name = column or (usual if usual in matrices else matrices[0] if len(matrices) == 1 else None)
    if name is None:
        raise ValueError(f"it has the vectors {sorted(matrices)}: choose one by {modality}_column")
    if name not in matrices:
        raise ValueError(f"{modality}_column={column!r}: it has the vectors {sorted(matrices)}")
    valid = np.ones(len(arrays[name]), bool)
    if modality == "audio" and "has_audio" in arrays:
        valid = np.asarray(arrays["has_audio"], bool)
    return [str(n) for n in arrays[named[0]]], arrays[name], valid


def map_npz(path: str | os.PathLike) -> dict[str, Any]:
    """Returns {name: array} of an .npz, memory-mapped unless it is compressed.

    Args:
      path: the file.

    Raises:
      ValueError, zipfile.BadZipFile: it is damaged, or has arrays of Python objects.
    """
    arrays = {}
    with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if member.compress_type != zipfile.ZIP_STORED:
                with archive.open(member) as part:
                    arrays[name] = np.lib.format.read_array(part, allow_pickle=False)
                continue
            file.seek(member.header_offset)
            header = file.read(30)  # Of the member; its name and extra field follow.
            lengths = int.from_bytes(header[26:28], "little"), int.from_bytes(header[28:], "little")
            file.seek(member.header_offset + 30 + sum(lengths))
            arrays[name] = _map_array(path, file, member)
    return arrays


def _map_array(path, file, member):
    """The array at the position of `file`, which `member` describes."""
    start = file.tell()
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0}
    shape, by_column, dtype = read.get(version, np.lib.format.read_array_header_2_0)(file)
    if dtype.hasobject:
        raise ValueError(f"{member.filename} holds Python objects")
    offset = file.tell()
    if offset - start + int(np.prod(shape)) * dtype.itemsize != member.file_size:
        raise ValueError(f"{member.filename} is cut off, or its header is damaged")
    if not np.prod(shape):
        return np.zeros(shape, dtype)
    order = "F" if by_column else "C"
    return np.memmap(path, dtype, "r", offset, shape, order)


def _check_finite(path, names, values):
    """Raises ValueError if a vector is not finite; reads all of them once."""
    rows = max(1, BLOCK // values.shape[1])
    for start in range(0, len(values), rows):
        good = np.isfinite(values[start : start + rows]).all(1)
        if not good.all():
            bad = names[start + int(np.flatnonzero(~good)[0])]
            raise ValueError(f"{path}: the vector of {bad} is not finite: leave it out")


def _digest(names, values) -> str:
    digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape"))
    digest.update(f"{values.dtype} {values.shape}".encode())
    some = np.unique(np.linspace(0, len(values) - 1, min(len(values), NUM_HASHED)).astype(int))
    digest.update(np.ascontiguousarray(values[some]).tobytes())
    return digest.hexdigest()
