"""safetensors in and out, to the bit, and no lie in a header believed."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest

from avjax.weights import safetensors


def test_safetensors_round_trip(tmp_path):
    whole = dict(
        f32=np.arange(6, dtype=np.float32).reshape(2, 3), f16=np.ones(2, np.float16),
        bf16=np.ones((1, 2), ml_dtypes.bfloat16), i64=np.array(7), mask=np.array([True, False]),
        turned=np.arange(6.0).reshape(2, 3).T, none=np.zeros((0, 4), np.float32),
    )  # fmt: skip
    safetensors.write(tmp_path / "x.safetensors", whole, {"step": "3"})
    read = safetensors.read(tmp_path / "x.safetensors")
    assert read.keys() == whole.keys()
    for name, a in whole.items():
        assert read[name].dtype == a.dtype and read[name].shape == a.shape
        np.testing.assert_array_equal(read[name], a)
    assert safetensors.about(tmp_path / "x.safetensors")["step"] == "3"
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def lie(header, data=bytes(16), length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype="F32", shape=(4,), offsets=(0, 16)):
    return dict(dtype=dtype, shape=list(shape), data_offsets=list(offsets))


LIES = {
    "a header of 100 MB": (lie(b"{" + b" " * 200, length=100 << 20), "claims a header"),
    "a header of 2**64 - 1 bytes": (lie({"a": entry()}, length=2**64 - 1), "claims a header"),
    "a header past the end": (lie({"a": entry()}, length=1000), "claims a header"),
    "no header": (b"1234", "truncated"),
    "no JSON": (lie(b"{'a': 1}"), "property name"),
    "no text": (lie(b"\xff\xfe{}"), "utf-8"),
    "nested a million deep": (lie(b"[" * 1_000_000), "recursion"),
    "a list": (lie([1]), "not a table"),
    "a name twice": (lie(b'{"a": 1, "a": 2}'), "twice"),
    "a field twice": (lie(b'{"a": {"dtype": "F32", "dtype": "F64"}}'), "twice"),
    "overlap": (lie({"a": entry(), "b": entry(offsets=(8, 24))}, bytes(24)), "overlaps another"),
    "the same place": (lie({"a": entry(), "b": entry()}), "overlaps another"),
    "a hole": (lie({"a": entry(offsets=(16, 32))}, bytes(32)), "hole"),
    "more than there is": (lie({"a": entry(shape=(8,), offsets=(0, 32))}), "32 bytes, and it has 16"),
    "less than there is": (lie({"a": entry(shape=(2,), offsets=(0, 8))}), "8 bytes, and it has 16"),
    "another dtype": (lie({"a": entry("F64")}), "requires 32"),
    "an unknown dtype": (lie({"a": entry("O8")}), "dtype 'O8'"),
    "a dtype that is a list": (lie({"a": entry(["F32"])}), "dtype"),
    "another shape": (lie({"a": entry(shape=(5,))}), "requires 20"),
    "a shape below 0": (lie({"a": entry(shape=(-4, -1))}), "shape"),
    "a shape that overflows": (lie({"a": entry(shape=(2**62, 2**62, 16))}), "requires"),
    "a shape of floats": (lie({"a": entry(shape=(4.0,))}), "shape"),
    "offsets backwards": (lie({"a": entry(offsets=(16, 0))}), "bytes"),
    "offsets of one": (lie({"a": entry(offsets=(0,))}), "data_offsets"),
    "an extra field": (lie({"a": {**entry(), "run": "touch CANARY"}}), "described by"),
    "metadata of numbers": (lie({"__metadata__": {"a": 1}, "b": entry()}), "metadata"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_inconsistent_header_is_refused(tmp_path, name):
    content, message = LIES[name]
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        safetensors.read(path)
    assert "x.safetensors" in str(error.value)
