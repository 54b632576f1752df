"""tf.train.Example, the message that TFDS keeps an example in, without importing TFDS.

Importing it would take each process that reads shards about a second.
"""

import functools

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
def message():
    """The class of an Example."""
    file = descriptor_pb2.FileDescriptorProto(name="avjax/example.proto", package="avjax")
    file.syntax = "proto3"
    for name, fields in MESSAGES.items():
        one = file.message_type.add(name=name)
        for title, number, kind, other in fields:
            label = FIELD.LABEL_REPEATED if number < 0 else FIELD.LABEL_OPTIONAL
            field = one.field.add(name=title, number=abs(number), type=kind, label=label)
            if other:
                field.type_name = f".avjax.{other}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("avjax.Example"))


def features(data):
    """The bytes of an Example -> {name: its values}, none of them looked at yet."""
    out = {}
    for entry in message().FromString(data).features.feature:
        value = entry.value
        out[entry.key] = (
            value.bytes_list if value.HasField("bytes_list") else value.int64_list
        ).value
    return out


def ordered(data):
    """The same Example with its features in the order of their names: the same bytes each time."""
    example = message().FromString(data)
    entries = sorted(example.features.feature, key=lambda entry: entry.key)
    again = message()()
    again.features.feature.extend(entries)
    return again.SerializeToString()
