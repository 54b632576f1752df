"""Worker-to-parent protocol: JSON plus raw array bytes, never pickle.

A worker reads untrusted files, so its answers are never unpickled.
"""

import builtins
import json
import struct
from collections.abc import Iterable
from socket import socket
from typing import Any

import numpy as np

INT64 = struct.Struct("<q")
MAX_BYTES = 2**34  # Bytes of a message: a wrong number must not allocate all memory.


def pack(message: Any) -> list[bytes | memoryview]:
    """Encodes a message: None, numbers, strings, arrays, lists, tuples, dictionaries.

    Args:
      message: a value of these types.

    Returns:
      The parts to send, for `write`.

    Raises:
      TypeError: names any other type.
    """
    arrays = []
    head = json.dumps(_to_json(message, arrays)).encode()
    return [INT64.pack(len(head)) + head, *(memoryview(a).cast("B") for a in arrays if a.size)]


def write(connection: socket, parts: Iterable[bytes | memoryview]) -> None:
    """Sends a message.

    Args:
      connection: a connected socket.
      parts: the result of `pack`.

    Raises:
      OSError: the other end has closed.
      TimeoutError: it does not receive in time.
    """
    for part in parts:
        connection.sendall(part)


def read(connection: socket) -> Any:
    """Receives a message; arrays are written to memory only once.

    Args:
      connection: a connected socket.

    Raises:
      EOFError: the other end has closed.
      TimeoutError: nothing arrived in time.
      ValueError: it is not a message of `pack`.
    """
    (size,) = INT64.unpack(recv_exact(connection, INT64.size).data)
    try:
        return _from_json(json.loads(bytes(recv_exact(connection, size))), connection)
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a message of avjax's workers: {error!r}") from error


def recv_exact(connection: socket, size: int) -> np.ndarray:
    """Returns the next bytes of a socket, uint8 [size].

    Args:
      connection: a connected socket.
      size: number of bytes, at most MAX_BYTES.

    Raises:
      ValueError: the size is out of range.
      EOFError: the other end has closed.
    """
    if not 0 <= size <= MAX_BYTES:
        raise ValueError(f"a message of {size} bytes; at most {MAX_BYTES}")
    data = np.empty(size, np.uint8)
    rest = data.data
    while len(rest):
        got = connection.recv_into(rest)
        if not got:
            raise EOFError("the other end has gone")
        rest = rest[got:]
    return data


def dump_exception(error: BaseException, trace: str) -> list:
    """Converts an exception to plain values for `pack`.

    Args:
      error: the exception.
      trace: its traceback, which is added to its notes.

    Returns:
      [type name, text, notes].
    """
    return [type(error).__name__, str(error), [*getattr(error, "__notes__", []), trace]]


def load_exception(value: Any) -> Exception:
    """Returns the exception of `dump_exception`; a RuntimeError unless its type is a builtin."""
    name, text, notes = value
    kind: Any = getattr(builtins, name, None)
    plain = isinstance(kind, type) and issubclass(kind, Exception) and kind not in NOT_FROM_TEXT
    make: Any = kind if plain else None
    error = make(text) if make else RuntimeError(f"{name}: {text}")
    for note in notes:
        error.add_note(note)
    return error


# Exceptions that cannot be made of a text.
NOT_FROM_TEXT = (UnicodeDecodeError, UnicodeEncodeError, UnicodeTranslateError, ExceptionGroup)


def _to_json(value, arrays):
    """The value as JSON; its arrays are appended to `arrays`, in order."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        arrays.append(np.ascontiguousarray(value))
        return {"array": [value.dtype.str, list(value.shape)]}
    if isinstance(value, dict):
        return {"dict": [[_to_json(k, arrays), _to_json(v, arrays)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_to_json(item, arrays) for item in value]}
    raise TypeError(f"a worker cannot answer with a {type(value).__name__}: use plain values")


def _from_json(value, connection):
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "array":
        dtype, shape = np.dtype(inner[0]), tuple(inner[1])
        if dtype.kind not in "biuf" or not all(isinstance(n, int) and n >= 0 for n in shape):
            raise ValueError(f"an array of {dtype} {shape}")
        count = int(np.prod(shape, dtype=object)) if shape else 1
        return recv_exact(connection, count * dtype.itemsize).view(dtype).reshape(shape)
    if kind == "dict":
        return {_from_json(k, connection): _from_json(v, connection) for k, v in inner}
    items = [_from_json(item, connection) for item in inner]
    return tuple(items) if kind == "tuple" else items
