"""PyTorch's files: the honest are read to the bit, and of the others nothing runs.

Every malicious file here would leave a canary if any of it were run.
"""

import collections
import pickle
import struct

import ml_dtypes
import numpy as np
import pytest

from avjax.weights import torch_file
from tests.weights import torchfile
from tests.weights.torchfile import Call, Global, Saved, dumped, storage, tensor

ONES = np.ones(4, np.float32)


def both(value, storages=None):
    """A pickle, as the value of the new format and of the old."""
    body = value if isinstance(value, bytes) else dumped(value)
    return [torchfile.zipped(body, storages), torchfile.row(body, storages)]


@pytest.mark.parametrize("old", [False, True])
def test_checkpoint_is_read_exactly(tmp_path, old):
    rng = np.random.default_rng(0)
    floats = [rng.standard_normal((3, 4, 2)).astype(d) for d in ("float64", "float32", "float16")]
    whole = dict(
        epoch=30, name="réseau", best=0.5, none=None, yes=True, no=False, big=2**40, less=-7,
        model=collections.OrderedDict({f"module.{a.dtype.name}": a for a in floats}),
        nested=[dict(step=np.array(7), exp=(rng.random(5).astype(np.float32), 0.9, [1, [2]]))],
        half=rng.random((2, 3)).astype(ml_dtypes.bfloat16), empty=np.zeros((0, 3), np.float32),
        index=np.arange(5), bytes=np.arange(5, dtype=np.uint8), mask=np.array([True, False]),
        ints=np.arange(3, dtype=np.int32),
    )  # fmt: skip
    torchfile.save(tmp_path / "x.pth.tar", whole, old)
    read = torch_file.read(tmp_path / "x.pth.tar")
    assert list(read) == list(whole) and list(read["model"]) == list(whole["model"])

    def same(a, b):
        if isinstance(b, np.ndarray):
            assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        elif isinstance(b, dict):
            [same(a[k], b[k]) for k in b]
        elif isinstance(b, (list, tuple)):
            assert type(a) is type(b) and len(a) == len(b)
            [same(x, y) for x, y in zip(a, b)]
        else:
            assert a == b and type(a) is type(b)

    same(read, whole)


def test_tensor_views_share_their_storage(tmp_path):
    """A slice, a transpose, two tensors of one storage, the order of channels last."""
    a = np.arange(24, dtype=np.float32)
    kept = storage("0", a)
    value = dict(
        slice=tensor(kept, (3,), (2,), 5),
        transposed=tensor(kept, (4, 6), (1, 4)),
        last=tensor(kept, (1, 3, 2, 4), (24, 1, 12, 3)),
        number=tensor(kept, (), (), 23),
        parameter=Call("torch._utils _rebuild_parameter", tensor(kept, (24,), (1,)), True, {}),
    )
    for content in both(value, {"0": a}):
        (tmp_path / "x.pt").write_bytes(content)
        read = torch_file.read(tmp_path / "x.pt")
        np.testing.assert_array_equal(read["slice"], [5, 7, 9])
        np.testing.assert_array_equal(read["transposed"], a.reshape(6, 4).T)
        last = a.reshape(1, 2, 4, 3).transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(read["last"], last)
        assert read["number"] == 23 and read["number"].shape == ()
        np.testing.assert_array_equal(read["parameter"], a)


def test_files_of_python_2_and_of_pytorch_before_0_4_are_read(tmp_path):
    """Bytes for text, an OrderedDict of pairs, a tensor without what gradients want."""
    a = np.arange(6, dtype=np.float32)
    old = Call("torch._utils _rebuild_tensor", storage("0", a, old=True), 0, (2, 3), (3, 1))
    pairs = [[b"U\x01w", old], [b"U\x01n", 3]]
    value = Call("collections OrderedDict", pairs)
    (tmp_path / "x.pt").write_bytes(torchfile.row(dumped(value), {"0": a}))
    read = torch_file.read(tmp_path / "x.pt")
    np.testing.assert_array_equal(read["w"], a.reshape(2, 3))
    assert read["n"] == 3


def test_ordered_dict_attributes_are_dropped(tmp_path):
    """state_dict() has the versions of its modules there."""
    state = b"ccollections\nOrderedDict\n)R(" + pickle.dumps("a", 2)[2:-1] + b"K\x01u"
    build = b"}" + pickle.dumps("_metadata", 2)[2:-1] + b"}sb"
    (tmp_path / "x.pt").write_bytes(torchfile.zipped(b"\x80\x02" + state + build + b"."))
    assert torch_file.read(tmp_path / "x.pt") == {"a": 1}


class Runs:
    """What it makes of a pickle: a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def touch(canary):
    raise AssertionError(f"ran, and would have written {canary}")


COMMAND = b"V touch CANARY\n"
GLOBALS = {
    "os system": Call("os system", "touch CANARY"),
    "posix system": Call("posix system", "touch CANARY"),
    "builtins eval": Call("builtins eval", "open('CANARY', 'w')"),
    "__builtin__ eval": Call("__builtin__ eval", "open('CANARY', 'w')"),
    "subprocess Popen": Call("subprocess Popen", ["touch", "CANARY"]),
    "builtins getattr": Call("builtins getattr", Global("collections OrderedDict"), "__init__"),
    "torch load": Call("torch load", "CANARY"),
    "torch.hub load": Call("torch.hub load", "CANARY"),
    "torch FloatStorage.from_file": Call("torch FloatStorage.from_file", "CANARY", True, 4),
    "torch._utils _rebuild_tensor_v2.__globals__": Global(
        "torch._utils _rebuild_tensor_v2.__globals__"
    ),
    "collections OrderedDict.__reduce__": Global("collections OrderedDict.__reduce__"),
    "numpy.core.multiarray _reconstruct": Call("numpy.core.multiarray _reconstruct", 0),
    "argparse Namespace": Call("argparse Namespace"),
    "numpy dtype": Global("numpy dtype"),
}  # fmt: skip


@pytest.mark.parametrize("name", GLOBALS)
@pytest.mark.parametrize("depth", [0, 1])
def test_every_other_global_is_refused(refuses, name, depth):
    value = {"model": [GLOBALS[name]]} if depth else GLOBALS[name]
    for content in both(value):
        refuses(content, f"asks for '{name}'")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_code_that_python_would_run_is_refused(refuses, protocol):
    """Of the standard pickler, by STACK_GLOBAL too."""
    content = pickle.dumps({"model": Runs(eval, "open('CANARY', 'w')")}, protocol)
    refuses(torchfile.zipped(content), "asks for '(builtins|__builtin__) eval'")
    refuses(torchfile.zipped(pickle.dumps(Runs(touch, 1), protocol)), "asks for 'tests")


def test_global_cannot_hide_in_a_storage(refuses):
    for kind in ("os system", "collections OrderedDict", "torch._utils _rebuild_tensor_v2"):
        saved = Saved(("storage", Global(kind), "0", "cpu", 4))
        reason = "asks for" if kind == "os system" else "no known type"
        for content in both(tensor(saved, (4,), (1,)), {"0": ONES}):
            refuses(content, reason)
    call = Call("os system", "touch CANARY")
    for content in both(Saved(("storage", Global("torch FloatStorage"), call, "cpu", 4))):
        refuses(content, "asks for 'os system'")


PERSISTENT = {
    "no tuple": Saved("touch"),
    "another kind": Saved(("module", "os", "x", "y", 1)),
    "short": Saved(("storage",)),
    "nested": Saved((("storage",), Global("torch FloatStorage"), "0", "cpu", 4)),
    "negative": Saved(("storage", Global("torch FloatStorage"), "0", "cpu", -4)),
    "no number": Saved(("storage", Global("torch FloatStorage"), "0", "cpu", 4.0)),
    "no key": Saved(("storage", Global("torch FloatStorage"), 0, "cpu", 4)),
    "a type that is text": Saved(("storage", "torch FloatStorage", "0", "cpu", 4)),
    "a view": Saved(("storage", Global("torch FloatStorage"), "0", "cpu", 4, ("1", 0, 2))),
    "text in protocol 0": b"Pstorage\n",
}


@pytest.mark.parametrize("name", PERSISTENT)
def test_invalid_persistent_ids_are_refused(refuses, name):
    for content in both(PERSISTENT[name], {"0": ONES}):
        refuses(content, "persistent id|storage|PERSID")


OPCODES = {
    "INST": b"(" + COMMAND + b"ios\nsystem\n",
    "OBJ": b"(cos\nsystem\n" + COMMAND + b"o",
    "OBJ of a known name": b"(ccollections\nOrderedDict\no",
    "NEWOBJ": b"ccollections\nOrderedDict\n)\x81",
    "NEWOBJ_EX": b"ccollections\nOrderedDict\n)}\x92",
    "EXT1": b"\x82\x01",
    "EXT2": b"\x83\x01\x00",
    "EXT4": b"\x84\x01\x00\x00\x00",
    "DUP": b"]2",
    "POP": b"]0",
    "STRING": b"S'x'\n",
    "INT": b"I1\n",
    "LONG": b"L1L\n",
    "FROZENSET": b"(\x91",
    "BYTEARRAY8": b"\x96\x01\x00\x00\x00\x00\x00\x00\x00x",
    "NEXT_BUFFER": b"\x97",
    "GET": b"]p0\ng0\n",
    "unknown": b"\xff",
}


@pytest.mark.parametrize("name", OPCODES)
def test_unneeded_opcodes_are_refused(refuses, name):
    for content in both(b"\x80\x02" + OPCODES[name] + b"."):
        refuses(content, "opcode|asks for")


BROKEN = {
    "stack underflow": (b"(u.", "more from its stack"),
    "tuple of nothing": (b"\x86.", "more from its stack"),
    "beneath a mark": (b"]K\x01(a.", "more from its stack"),
    "no mark": (b"t.", "mark"),
    "no stop": (b"]", "STOP|exhausted|more than one value"),
    "nothing": (b".", "more from its stack"),
    "two values": (b"]].", "more than one value"),
    "no such memo": (b"h\x07.", "memo 7"),
    "append to a dict": (b"}K\x01a.", "APPEND to a dict"),
    "item of a list": (b"]K\x01K\x01s.", "SETITEM to a list"),
    "a key that is a tuple": (b"})K\x01s.", "key of type tuple"),
    "a key that is a list": (b"}]K\x01s.", "key of type list"),
    "a key without a value": (b"}(K\x01u.", "without a value"),
    "a call of a number": (b"K\x01)R.", "REDUCE"),
    "a call of a storage's type": (b"ctorch\nFloatStorage\n)R.", "REDUCE"),
    "a call without a tuple": (b"ccollections\nOrderedDict\n]R.", "REDUCE"),
    "BUILD of a list": (b"]}b.", "BUILD"),
    "BUILD of a name": (b"ccollections\nOrderedDict\n}b.", "BUILD"),
    "BUILD with slots": (b"ccollections\nOrderedDict\n)RN}\x86b.", "BUILD"),
    "STACK_GLOBAL of lists": (b"]]\x93.", "no text"),
    "STACK_GLOBAL, dotted": (b"\x8c\x0bcollections\x8c\x19OrderedDict.fromkeys.eval\x93.", "asks for"),
    "STACK_GLOBAL, from elsewhere": (b"\x8c\x02os\x8c\x06system\x93.", "asks for 'os system'"),
    "a name as a value": (b"ccollections\nOrderedDict\n.", "type or a storage"),
    "protocol 9": (b"\x80\x09].", "protocol 9"),
    "LONG4 of 2 GB": (b"\x8b\xff\xff\xff\x7fxx.", "long4|LONG4|expected"),
    "LONG4 of less than nothing": (b"\x8b\xff\xff\xff\xffxx.", "long4|LONG4|negative"),
    "LONG4, honest": (b"\x8b\x01\x00\x00\x00x.", "opcode LONG4"),
    "LONG1 of 255 bytes": (b"\x8a\xff" + b"\x11" * 255 + b".", "number of"),
    "text of 2 GB": (b"X\xff\xff\xff\x7fxx.", "expected"),
    "text of 2**60 bytes": (b"\x8d" + struct.pack("<Q", 2**60) + b"xx.", "expected"),
    "a FRAME of more than there is": (b"\x95" + struct.pack("<Q", 2**62) + b"].", "FRAME"),
    "text that is none": (b"X\x02\x00\x00\x00\xff\xff.", "utf-8"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_damaged_pickles_are_refused(refuses, name):
    body, reason = BROKEN[name]
    head = b"" if body.startswith(b"\x80") else b"\x80\x02"
    for content in both(head + body):
        refuses(content, reason)


def test_shared_list_bomb_is_refused(refuses):
    """A list of two times the last, 60 deep: few bytes, 2**60 values."""
    body = b"](e" + b"".join(b"q%c0](h%ch%ce" % (i, i, i) for i in range(60))
    body = body.replace(b"0](", b"](")  # The lists below stay on the stack, in a tuple.
    for content in both(b"\x80\x02(" + body + b"t."):
        refuses(content, "more than 300000 values, or is deeper")
    wide = (
        b"]q\x00("
        + b"K\x01" * 1000
        + b"e]q\x01("
        + b"h\x00" * 1000
        + b"e]("
        + b"h\x01" * 1000
        + b"et."
    )
    for content in both(b"\x80\x02(" + wide):
        refuses(content, "more than 300000 values")


def test_recursive_or_too_deep_value_is_refused(refuses):
    for body in (b"]q\x00h\x00a.", b"}q\x00K\x01h\x00s.", b"]" * 500 + b"a" * 499 + b".",
                 b")" + b"\x85" * 100_000 + b"."):  # fmt: skip
        for content in both(b"\x80\x02" + body):
            refuses(content, "deeper than")


def test_unterminated_pickle_is_refused(refuses):
    for content in both(b"\x80\x02](" + b"K\x01" * 300_000 + b"e."):
        refuses(content, "more than 200000 opcodes")
    refuses(torchfile.zipped(b"\x80\x02X" + struct.pack("<I", 17 << 20) + b"x" * (17 << 20) + b"."),
            "its pickle has")  # fmt: skip


SHAPES = {
    "longer than its storage": ((5,), (1,), 0),
    "beyond its storage": ((4,), (1,), 1),
    "far beyond": ((2,), (2**62,), 0),
    "a stride below 0": ((2,), (-1,), 1),
    "an offset below 0": ((2,), (1,), -1),
    "a size below 0": ((-2,), (1,), 0),
    "huge, of stride 0": ((2**40,), (0,), 0),
    "a little, of stride 0": ((2,), (0,), 0),
    "axes that overlap": ((2, 2), (1, 1), 0),
    "axes that overlap later": ((2, 3), (1, 1), 0),
    "sizes without strides": ((2, 2), (1,), 0),
    "a size of floats": ((2.0,), (1,), 0),
    "numbers of 400 bits": ((2**100, 2**100), (1, 1), 0),
    "empty, and huge": ((0, 2**62), (1, 1), 0),
    "many axes": ((1,) * 100, (1,) * 100, 0),
}


@pytest.mark.parametrize("name", SHAPES)
def test_tensor_outside_its_storage_is_refused(refuses, name):
    size, stride, offset = SHAPES[name]
    for content in both({"w": tensor(storage("0", ONES), size, stride, offset)}, {"0": ONES}):
        refuses(content, "tensor")


def test_storage_of_wrong_length_is_refused(refuses):
    for count in (3, 5, 2**60):
        value = tensor(storage("0", ONES, count), (2,), (1,))
        for content in both(value, {"0": ONES}):
            refuses(content, "storage '0' (has|reaches)")
    double = tensor(storage("0", ONES, kind="Double"), (2,), (1,))
    for content in both(double, {"0": ONES}):
        refuses(content, "storage '0' (has|reaches)")
    for content in both(tensor(storage("1", ONES), (2,), (1,)), {"0": ONES}):
        refuses(content, "storage '[01]'")
    two = [
        tensor(storage("0", ONES), (2,), (1,)),
        tensor(storage("0", ONES, kind="Int"), (2,), (1,)),
    ]
    for content in both(two, {"0": ONES}):
        refuses(content, "two types")
    refuses(both(tensor(storage("../../0", ONES), (2,), (1,)), {"0": ONES})[0], "lacks storage")


def test_flipped_bit_is_detected(refuses):
    content = bytearray(both(tensor(storage("0", ONES), (4,), (1,)), {"0": ONES})[0])
    content[content.index(ONES.tobytes()) + 3] ^= 1
    refuses(bytes(content), "damaged")


def test_every_truncation_is_refused(refuses, tmp_path):
    value = {"w": tensor(storage("0", ONES), (4,), (1,)), "n": [1, 2, 3]}
    for content in both(value, {"0": ONES}):
        for end in range(0, len(content), 7):
            refuses(content[:end], "x.pth")
        refuses(content + b"x", "follows|after its last")
