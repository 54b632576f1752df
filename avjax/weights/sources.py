"""Readers of published weights by source; see avjax.weights.published for what and where."""

from typing import Any, Callable, NamedTuple

from avjax.weights import source_avid, source_encoders
from avjax.weights.imported import Weights
from avjax.weights.published import PUBLISHED


class Source(NamedTuple):
    """A source of weights; read: contents of a file -> Weights."""

    home: str
    license: str
    read: Callable[[Any], Weights]


READERS = {
    "avid": source_avid.read,
    "avid-cma": source_avid.read,
    "xdc": source_encoders.xdc,
    "torchvision": source_encoders.torchvision,
    "gdt": source_encoders.gdt,
    "i3d": source_encoders.i3d,
    "panns": source_encoders.panns,
}
SOURCES = {
    name: Source(PUBLISHED[name].home, PUBLISHED[name].license, read)
    for name, read in READERS.items()
}
