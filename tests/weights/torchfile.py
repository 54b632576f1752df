"""Writes PyTorch's files without PyTorch, honest ones and others: pickles opcode by opcode."""

import collections
import io
import pickle
import struct
import zipfile

import numpy as np

KINDS = {"float32": "Float", "float64": "Double", "float16": "Half", "bfloat16": "BFloat16",
         "int64": "Long", "int32": "Int", "uint8": "Byte", "bool": "Bool"}  # fmt: skip


class Global:
    """Something of a module, by its name."""

    def __init__(self, name):
        self.name = name


class Call:
    """A call of a Global: what REDUCE makes of it."""

    def __init__(self, name, *args):
        self.name, self.args = name, args


class Saved:
    """A persistent id."""

    def __init__(self, value):
        self.value = value


def storage(key, array, count=None, kind=None, place="cpu", old=False):
    kind = Global(f"torch {kind or KINDS[array.dtype.name]}Storage")
    return Saved(
        ("storage", kind, key, place, array.size if count is None else count, *[None] * old)
    )


def tensor(saved, size, stride, offset=0):
    hooks = Call("collections OrderedDict")
    return Call(
        "torch._utils _rebuild_tensor_v2", saved, offset, tuple(size), tuple(stride), False, hooks
    )


def dumped(value) -> bytes:
    """A pickle of protocol 2, with every Global, Call and Saved as it says."""
    return b"\x80\x02" + body(value) + b"."


def body(value) -> bytes:
    match value:
        case Global():
            return b"c" + value.name.replace(" ", "\n").encode() + b"\n"
        case Call():
            return body(Global(value.name)) + body(value.args) + b"R"
        case Saved():
            return body(value.value) + b"Q"
        case bytes():
            return value  # Opcodes, as they are.
        case dict():
            items = b"".join(body(k) + body(v) for k, v in value.items())
            made = (
                b"ccollections\nOrderedDict\n)R" if type(value) is collections.OrderedDict else b"}"
            )
            return made + b"(" + items + b"u"
        case list() | tuple():
            start, end = (b"](", b"e") if type(value) is list else (b"(", b"t")
            return start + b"".join(map(body, value)) + end
        case _:
            return pickle.dumps(value, 2)[2:-1]


def lifted(value, storages, old=False):
    """`value` with tensors for arrays, whose numbers go into `storages`."""
    if isinstance(value, np.ndarray):
        key = str(len(storages))
        storages[key] = np.ascontiguousarray(value).reshape(value.shape)
        strides = [s // value.itemsize for s in storages[key].strides]
        return tensor(storage(key, value, old=old), value.shape, strides)
    if isinstance(value, dict):
        return type(value)((k, lifted(v, storages, old)) for k, v in value.items())
    if type(value) in (list, tuple):
        return type(value)(lifted(v, storages, old) for v in value)
    return value


def zipped(pickled: bytes, storages=None, root="archive", extra=(), method=0) -> bytes:
    """The file of PyTorch 1.6 and later."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as z:
        z.writestr(f"{root}/data.pkl", pickled)
        for name, content in extra:
            z.writestr(name, content)
        for key, array in (storages or {}).items():
            z.writestr(f"{root}/data/{key}", array.tobytes())
        z.writestr(f"{root}/version", "3\n")
    return file.getvalue()


def row(pickled: bytes, storages=None) -> bytes:
    """The file of PyTorch before 1.6."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    head = [pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, system)]
    storages = storages or {}
    tail = [struct.pack("<q", a.size) + a.tobytes() for a in storages.values()]
    return b"".join([*head, pickled, pickle.dumps([*storages], 2), *tail])


def save(path, value, old=False):
    """What torch.save(value, path) writes, for NumPy arrays in place of tensors."""
    storages = {}
    pickled = dumped(lifted(value, storages, old))
    path.write_bytes(row(pickled, storages) if old else zipped(pickled, storages))
