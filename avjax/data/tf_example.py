"""Parses tf.train.Example, the message format of TFDS, without importing TFDS.

Importing TFDS would take about a second in each process that reads shards.
"""

import functools
from collections.abc import Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FIELD = descriptor_pb2.FieldDescriptorProto
# Message: its fields as (name, number, type, message), repeated where the number is negative.
MESSAGES = {
    "BytesList": [("value", -1, FIELD.TYPE_BYTES, None)],
    "FloatList": [("value", -1, FIELD.TYPE_FLOAT, None)],
    "Int64List": [("value", -1, FIELD.TYPE_INT64, None)],
    "Feature": [
        ("bytes_list", 1, FIELD.TYPE_MESSAGE, "BytesList"),
        ("float_list", 2, FIELD.TYPE_MESSAGE, "FloatList"),
        ("int64_list", 3, FIELD.TYPE_MESSAGE, "Int64List"),
    ],
    # What a map<string, Feature> is on the wire.
    "Entry": [("key", 1, FIELD.TYPE_STRING, None), ("value", 2, FIELD.TYPE_MESSAGE, "Feature")],
    "Features": [("feature", -1, FIELD.TYPE_MESSAGE, "Entry")],
    "Example": [("features", 1, FIELD.TYPE_MESSAGE, "Features")],
}


@functools.cache
def example_class() -> Any:
    """Returns the Protocol Buffers class of tf.train.Example, whose fields have no stubs."""
    file = descriptor_pb2.FileDescriptorProto(name="avjax/example.proto", package="avjax")
    file.syntax = "proto3"
    for name, fields in MESSAGES.items():
        message_type = file.message_type.add(name=name)
        for field_name, number, kind, nested in fields:
            label = FIELD.LABEL_REPEATED if number < 0 else FIELD.LABEL_OPTIONAL
            field = message_type.field.add(
                name=field_name, number=abs(number), type=kind, label=label
            )
            if nested:
                field.type_name = f".avjax.{nested}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("avjax.Example"))


def parse_features(data: bytes) -> dict[str, Sequence]:
    """Parses the bytes of an Example to {name: values}; the values are not copied."""
    out = {}
    for entry in example_class().FromString(data).features.feature:
        value = entry.value
        out[entry.key] = (
            value.bytes_list if value.HasField("bytes_list") else value.int64_list
        ).value
    return out


def sort_features(data: bytes) -> bytes:
    """Returns the same Example with features sorted by name, so that bytes are reproducible."""
    example = example_class().FromString(data)
    entries = sorted(example.features.feature, key=lambda entry: entry.key)
    again = example_class()()
    again.features.feature.extend(entries)
    return again.SerializeToString()
