"""The nets that `step.py` measures, and PyTorch's of the same names."""

import flax.linen as nn
import numpy as np

from avjax.nets.audio.avid_convnet import AudioConvNet
from avjax.nets.image import resnet
from avjax.nets.layers.mlp import Mlp
from avjax.nets.video import avid_r2plus1d, i3d, resnet3d, vgg_mc3


class Model(nn.Module):
    """Both towers of AVID: (clips, spectrograms) -> embeddings [B, 128]."""

    dtype: str

    @nn.compact
    def __call__(self, video, audio, train):
        v = avid_r2plus1d.R2Plus1D(dtype=self.dtype)(video, train)
        a = AudioConvNet(dtype=self.dtype)(audio, train)
        return Mlp((512, 512, 128))(v, train), Mlp((512, 512, 128))(a, train)


NETS = {  # Name -> our net of a dtype; `torch_side` has PyTorch's of the same name.
    "avid": avid_r2plus1d.R2Plus1D,
    "vmz": resnet3d.r2plus1d,
    "torchvision": resnet3d.torchvision_r2plus1d,
    "r3d": resnet3d.r3d,
    "mc2": resnet3d.mc2,
    "mc3": resnet3d.mc3,
    "i3d": i3d.I3D,
    "vggmc3": vgg_mc3.VGGMC3,
    "resnet18": resnet.ResNet2D,
    "model": Model,
}


def torch_side(name, depth=18):
    """PyTorch's nets of a name of NETS, one per input; `depth` is of those that are residual."""
    from benchmarks import torch_nets

    if name == "model":
        towers = torch_nets.avid(depth), torch_nets.audio()
        return tuple(tower.append(torch_nets.head()) for tower in towers)
    plain = {"avid": torch_nets.avid, "i3d": torch_nets.i3d, "vggmc3": torch_nets.vggmc3,
             "resnet18": torch_nets.resnet}  # fmt: skip
    return (plain[name](depth) if name in plain else torch_nets.video_resnet(name, depth),)


def inputs(name, batch, frames, size):
    """The net's inputs, channels last: clips, pictures, or clips and spectrograms."""
    rs = np.random.RandomState(0)
    shapes = [(batch, size, size, 3) if name == "resnet18" else (batch, frames, size, size, 3)]
    if name == "model":
        shapes.append((batch, 200, 257, 1))
    return tuple(rs.standard_normal(shape).astype(np.float32) for shape in shapes)
