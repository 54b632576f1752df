"""Reads and writes safetensors files: {name: array} and metadata.

The library checks a header when it opens a file.  It is checked here first, so that bad files are
refused quickly and by name: https://huggingface.co/docs/safetensors.
"""

import json
import math
import os
import struct
from pathlib import Path

import ml_dtypes  # noqa: F401  NumPy then knows bfloat16 by its name.
import numpy as np

from avjax.runtime.atomic import atomic_replace
from avjax.runtime.regular_files import check_regular

HEADER = 4 << 20  # Bytes; 30,000 tensors take as many.
KINDS = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8",
}  # fmt: skip


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads a safetensors file.

    Args:
      path: the file.

    Returns:
      {name: array}.

    Raises:
      ValueError: names the file and what is wrong.
    """
    from safetensors import SafetensorError, safe_open

    try:
        check(path)
        with safe_open(str(path), framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except (ValueError, SafetensorError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error


def write(path: str | os.PathLike, tensors: dict[str, np.ndarray], about: dict[str, str]) -> None:
    """Writes a safetensors file atomically.

    Args:
      path: the file.
      tensors: {name: array}.
      about: metadata of the file.
    """
    from safetensors.numpy import save_file

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The library takes an array's memory as it lies.
    tensors = {name: np.ascontiguousarray(a).reshape(np.shape(a)) for name, a in tensors.items()}
    with atomic_replace(path) as part:
        save_file(tensors, part, metadata={"format": "pt", **about})


def about(path: str | os.PathLike) -> dict[str, str]:
    """Returns the metadata of a safetensors file."""
    return check(path).get("__metadata__", {})


def check(path: str | os.PathLike) -> dict:
    """Returns the header of a safetensors file.

    Args:
      path: the file.

    Raises:
      ValueError: the header is not consistent, or does not fit the file.
    """
    path = Path(path)
    check_regular(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise ValueError("is truncated, or not a safetensors file")
        (length,) = struct.unpack("<Q", start)
        if length > HEADER or length > size - 8:
            raise ValueError(
                f"claims a header of {length} bytes: at most {min(HEADER, size - 8)} are read"
            )
        header = json.loads(file.read(length).decode(), object_pairs_hook=_once)
    if type(header) is not dict:
        raise ValueError("has a header that is not a table")
    words = header.get("__metadata__", {})
    if type(words) is not dict or any(type(word) is not str for word in words.values()):
        raise ValueError("has metadata that is not text")
    at, end = 0, size - 8 - length
    spans = [_span(name, entry) for name, entry in header.items() if name != "__metadata__"]
    for begin, stop, name in sorted(spans):
        if begin != at:
            what = "overlaps another" if begin < at else "leaves a hole before it"
            raise ValueError(f"tensor {name[:100]!r} {what}: starts at {begin}, not at {at}")
        at = stop
    if at != end:
        raise ValueError(f"its tensors take {at} bytes, and it has {end}")
    return header


def _span(name, entry):
    """(first, last, name) of a tensor's bytes, if they fit its type and shape."""
    if type(entry) is not dict or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name[:100]!r} is not described by dtype, shape, data_offsets")
    kind, shape, span = entry["dtype"], entry["shape"], entry["data_offsets"]
    if type(kind) is not str or kind not in KINDS:
        raise ValueError(f"tensor {name[:100]!r} is of dtype {str(kind)[:20]!r}: use {[*KINDS]}")
    if not _naturals(shape) or len(shape) > 16:
        raise ValueError(f"tensor {name[:100]!r} has an invalid shape")
    if not _naturals(span) or len(span) != 2:
        raise ValueError(f"tensor {name[:100]!r} has invalid data_offsets")
    expected_bytes = math.prod(shape) * np.dtype(KINDS[kind]).itemsize
    if span[1] - span[0] != expected_bytes:
        raise ValueError(
            f"tensor {name[:100]!r} has {span[1] - span[0]} bytes, and its {kind} of shape "
            f"{shape} requires {str(expected_bytes)[:30]}"
        )
    return *span, name


def _naturals(values):
    return type(values) is list and all(type(n) is int and 0 <= n < 1 << 63 for n in values)


def _once(pairs):
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("its header has a name twice")
    return values
