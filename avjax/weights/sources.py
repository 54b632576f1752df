"""Readers of published weights, by source; avjax.weights.published says what and where they are."""

from typing import Any, Callable, NamedTuple

from avjax.weights import source_avid, source_encoders
from avjax.weights.imported import Weights
from avjax.weights.published import PUBLISHED


class Source(NamedTuple):
    """Whose weights: a file's contents -> Weights."""

    home: str
    licence: str
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
    name: Source(PUBLISHED[name].home, PUBLISHED[name].licence, read)
    for name, read in READERS.items()
}
