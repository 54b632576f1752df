"""Readers of published weights, by source; avjax.ported.published says what and where they are."""

from typing import Any, Callable, NamedTuple

from avjax.ported import avid, single
from avjax.ported.published import PUBLISHED
from avjax.ported.weights import Weights


class Source(NamedTuple):
    """Whose weights: a file's contents -> Weights."""

    home: str
    licence: str
    read: Callable[[Any], Weights]


READERS = {
    "avid": avid.read,
    "avid-cma": avid.read,
    "xdc": single.xdc,
    "torchvision": single.torchvision,
    "gdt": single.gdt,
    "i3d": single.i3d,
    "panns": single.panns,
}
SOURCES = {
    name: Source(PUBLISHED[name].home, PUBLISHED[name].licence, read)
    for name, read in READERS.items()
}
