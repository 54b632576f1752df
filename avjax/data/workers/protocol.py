"""Plain values and arrays over a socket: what a worker may say to the program that started it.

A worker reads files that anybody may have made.  So its answers are never unpickled: they are
JSON, and beside it the bytes of arrays of numbers.
"""

import builtins
import json
import struct

import numpy as np

NUMBER = struct.Struct("<q")
MOST = 2**34  # Bytes of a message, lest a wrong number ask for all memory.


def pack(message):
    """The parts of a message to be sent: None, numbers, strings, arrays, lists, tuples, dicts.

    Raises TypeError, naming the type, for anything else.
    """
    arrays = []
    head = json.dumps(_plain(message, arrays)).encode()
    return [NUMBER.pack(len(head)) + head, *(memoryview(a).cast("B") for a in arrays if a.size)]


def write(line, parts):
    """Sends what `pack` made.  Raises OSError, or TimeoutError if nobody takes it."""
    for part in parts:
        line.sendall(part)


def read(line):
    """What the other end has packed and written; arrays are written to memory only once.

    Raises EOFError if the other end has gone, TimeoutError if it is silent for too long, and
    ValueError if it does not speak as `pack` does.
    """
    (size,) = NUMBER.unpack(exactly(line, NUMBER.size))
    try:
        return _restored(json.loads(bytes(exactly(line, size))), line)
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a message of avjax's workers: {error!r}") from error


def exactly(line, size):
    """uint8 [size], the next bytes of a socket."""
    if not 0 <= size <= MOST:
        raise ValueError(f"a message of {size} bytes; at most {MOST}")
    data = np.empty(size, np.uint8)
    rest = memoryview(data)
    while len(rest):
        got = line.recv_into(rest)
        if not got:
            raise EOFError("the other end has gone")
        rest = rest[got:]
    return data


def told(error, trace):
    """An exception as a plain value: its type's name, its text, its notes with `trace`."""
    return [type(error).__name__, str(error), [*getattr(error, "__notes__", []), trace]]


def raised(value):
    """The exception that `told` told of; a RuntimeError where its type is not one of Python's."""
    name, text, notes = value
    kind = getattr(builtins, name, None)
    plain = isinstance(kind, type) and issubclass(kind, Exception) and kind not in DEMANDING
    error = kind(text) if plain else RuntimeError(f"{name}: {text}")
    for note in notes:
        error.add_note(note)
    return error


# Exceptions that cannot be made of a text.
DEMANDING = (UnicodeDecodeError, UnicodeEncodeError, UnicodeTranslateError, ExceptionGroup)


def _plain(value, arrays):
    """The value as JSON has it; its arrays are put into `arrays`, in order."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        arrays.append(np.ascontiguousarray(value))
        return {"array": [value.dtype.str, list(value.shape)]}
    if isinstance(value, dict):
        return {"dict": [[_plain(k, arrays), _plain(v, arrays)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_plain(item, arrays) for item in value]}
    raise TypeError(f"a worker cannot answer with a {type(value).__name__}: use plain values")


def _restored(value, line):
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "array":
        dtype, shape = np.dtype(inner[0]), tuple(inner[1])
        if dtype.kind not in "biuf" or not all(isinstance(n, int) and n >= 0 for n in shape):
            raise ValueError(f"an array of {dtype} {shape}")
        count = int(np.prod(shape, dtype=object)) if shape else 1
        return exactly(line, count * dtype.itemsize).view(dtype).reshape(shape)
    if kind == "dict":
        return {_restored(k, line): _restored(v, line) for k, v in inner}
    items = [_restored(item, line) for item in inner]
    return tuple(items) if kind == "tuple" else items
