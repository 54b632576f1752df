"""Reads PyTorch's .pth, .pth.tar and .pt files without executing anything in them.

Both formats: the zip file of PyTorch 1.6 and later, and the sequence of pickles before it.  PyTorch
files are programs (see `torch_pickle`); torch.load, even with weights_only, has executed code
(CVE-2025-32434) and written out of bounds (CVE-2026-24747).
"""

import io
import math
import mmap
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  NumPy then knows bfloat16 by its name.
import numpy as np

from avjax.runtime.regular_files import check_regular
from avjax.weights import torch_pickle, torch_zip

MAGIC = 0x1950A86A20F9469CFC6C  # Start of files in the old format.
PROTOCOL = 1001
DEPTH, VALUES, AXES = 32, 300_000, 16


def read(path: str | os.PathLike) -> Any:
    """Reads what torch.save wrote.

    Args:
      path: the file.

    Returns:
      Dicts, lists, tuples, numbers, text and NumPy arrays.  Arrays are read-only views of the file;
      only those that are used are read.

    Raises:
      ValueError: names the file and what is refused: anything but tensors and plain containers.
    """
    check_regular(path)
    with Path(path).open("rb") as file:
        head = file.read(512)
        if not head:
            raise ValueError(f"{path}: is empty")
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        if head.startswith(b"PK\3\4"):
            return _zip(data)
        if head.startswith(b"\x80"):
            return _row(data)
        if head[257:262] == b"ustar":
            raise ValueError("is a tar file of PyTorch before 0.2: save it with a newer version")
        raise ValueError("is not a PyTorch file: it starts with neither a zip nor a pickle")
    except (ValueError, OverflowError, struct.error) as error:
        raise ValueError(f"{path}: {error}") from error


def _zip(data):
    """Reads a zip with <root>/data.pkl, and <root>/data/<key> for every storage."""
    members = torch_zip.members(data)
    roots = {name.partition("/")[0] for name in members}
    root = roots.pop()
    if roots or f"{root}/data.pkl" not in members:
        raise ValueError("the zip is not one folder with a data.pkl, as PyTorch's")
    if f"{root}/constants.pkl" in members:
        raise ValueError("is a TorchScript program: save the state_dict of its module instead")
    order = members.get(f"{root}/byteorder")
    if order and bytes(data[order.start : order.start + 6]) != b"little":
        raise ValueError("is big-endian, which is not supported")
    start, size, _ = members[f"{root}/data.pkl"]
    if size > torch_pickle.LENGTH:
        raise ValueError(f"its pickle has {size} bytes: at most {torch_pickle.LENGTH} are read")
    value = torch_pickle.run(io.BytesIO(data[start : start + size]))

    def find(storage):
        member = members.get(f"{root}/data/{storage.key}")
        if member is None:
            raise ValueError(f"lacks storage {storage.key[:50]!r}")
        expected = storage.count * np.dtype(storage.dtype).itemsize
        if member.size != expected:
            raise ValueError(
                f"storage {storage.key[:50]!r} has {member.size} bytes, and says {expected}"
            )
        return member.start, member.crc

    return _plain(value, data, find)


def _row(data):
    """Reads a sequence of pickles (magic, protocol, system, value, keys), then every storage."""
    file = io.BytesIO(data[: torch_pickle.LENGTH])
    if torch_pickle.run(file) != MAGIC:
        raise ValueError("is a pickle, but not one of PyTorch")
    if torch_pickle.run(file) != PROTOCOL:
        raise ValueError(f"is not of PyTorch's protocol {PROTOCOL}")
    system = torch_pickle.run(file)
    if type(system) is not dict or system.get("little_endian") is not True:
        raise ValueError("is big-endian, which is not supported")
    value, keys = torch_pickle.run(file), torch_pickle.run(file)
    if type(keys) is not list or any(type(k) is not str for k in keys):
        raise ValueError("lacks the list of its storages")
    if len(set(keys)) < len(keys):
        raise ValueError("lists a storage twice")
    expected, at, starts = _storages(value), file.tell(), {}
    for key in keys:
        if key not in expected:
            raise ValueError(f"holds storage {key[:50]!r}, which nothing uses")
        if at + 8 > len(data):
            raise ValueError(f"ends before storage {key[:50]!r}")
        (count,) = struct.unpack_from("<q", data, at)
        if count != expected[key].count:
            raise ValueError(
                f"storage {key[:50]!r} has {count} numbers, and says {expected[key].count}"
            )
        starts[key] = at + 8
        at = starts[key] + count * np.dtype(expected[key].dtype).itemsize
        if at > len(data):
            raise ValueError(f"storage {key[:50]!r} reaches past the end of the file")
    if at != len(data):
        raise ValueError(f"has {len(data) - at} bytes after its last storage")

    def find(storage):
        if storage.key not in starts:
            raise ValueError(f"lacks storage {storage.key[:50]!r}")
        return starts[storage.key], None

    return _plain(value, data, find)


def _storages(value):
    """{key: Storage} of all tensors in `value`, whose shapes are checked."""
    found = {}

    def note(tensor):
        _check(tensor)
        storage = tensor.storage
        if found.setdefault(storage.key, storage) != storage:
            raise ValueError(f"storage {storage.key[:50]!r} is of two types or sizes")

    _walk(value, note)
    return found


def _plain(value, data, find):
    """`value` with arrays for tensors; find: (Storage) -> (where its bytes start, CRC-32)."""
    places = {key: (storage, *find(storage)) for key, storage in _storages(value).items()}
    # Cheap checks have been done by now; this reads the file.
    for key, (storage, start, crc) in places.items():
        size = storage.count * np.dtype(storage.dtype).itemsize
        if crc is not None and zlib.crc32(memoryview(data)[start : start + size]) != crc:
            raise ValueError(f"storage {key[:50]!r} is damaged: its checksum differs")

    def array(tensor):
        storage, start, _ = places[tensor.storage.key]
        if math.prod(tensor.size) == 0:
            return np.zeros(tensor.size, storage.dtype)
        flat = np.frombuffer(data, storage.dtype, storage.count, start)[tensor.offset :]
        strides = [s * flat.itemsize for s in tensor.stride]
        return np.lib.stride_tricks.as_strided(flat, tensor.size, strides, writeable=False)

    return _walk(value, array)


def _check(tensor):
    """Raises ValueError if a tensor exceeds its storage or holds an element twice."""
    key, size, stride = tensor.storage.key[:50], tensor.size, tensor.stride
    if len(size) > AXES or min((*size, *stride, tensor.offset, 0)) < 0:
        raise ValueError(f"a tensor of storage {key!r} has a size, stride or offset that is none")
    if math.prod(size) == 0:
        if math.prod(max(n, 1) for n in size) > 1 << 40:
            raise ValueError(f"a tensor of storage {key!r} is empty and of an absurd size")
        return
    last = 0  # Of what the axes so far reach, the finest first.
    for step, count in sorted((s, n) for s, n in zip(stride, size) if n > 1):
        if step <= last:
            raise ValueError(f"a tensor of storage {key!r} holds a number more than once")
        last += step * (count - 1)
    if tensor.offset + last >= tensor.storage.count:
        raise ValueError(
            f"a tensor of storage {key!r} reaches to {tensor.offset + last}, past its "
            f"{tensor.storage.count} numbers"
        )


def _walk(value, change):
    """A copy of `value` with each Tensor changed; refuses nesting or sharing beyond limits."""
    left = VALUES

    def walk(value, depth):
        nonlocal left
        left -= 1
        if left < 0 or depth > DEPTH:
            raise ValueError(f"holds more than {VALUES} values, or is deeper than {DEPTH}")
        if type(value) is torch_pickle.Tensor:
            return change(value)
        if type(value) is dict:
            return {k: walk(v, depth + 1) for k, v in value.items()}
        if type(value) in (list, tuple):
            return type(value)(walk(v, depth + 1) for v in value)
        if type(value) in (torch_pickle.Name, torch_pickle.Storage):
            raise ValueError("holds a type or a storage where a value should be")
        return value

    return walk(value, 0)
