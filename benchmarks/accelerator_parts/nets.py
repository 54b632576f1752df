"""Every net of `avjax/nets`, in bfloat16, with a small batch that it takes."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from avjax.nets.audio import acoustic_resnet, avid_convnet, cnn14, listen_to_look, vggm
from avjax.nets.frontends import logmel, pixels, spectrogram
from avjax.nets.image import resnet
from avjax.nets.joint import l3, multisensory
from avjax.nets.layers import batch_independent_norm, mlp
from avjax.nets.layers.max_pool import max_pool
from avjax.nets.video import avid_r2plus1d, ccl_student, i3d, resnet3d, vgg_mc3

BATCH = 4
LOW = dict(dtype="bfloat16")
POOLS = (  # Windows and strides of the nets.
    ((1, 3, 3), (1, 2, 2)),
    ((3, 3, 3), (1, 1, 1)),
    ((2, 2, 2), (2, 2, 2)),
)


def nets(dry):
    """{name: (net, shapes of a batch)}; all are called as (x, train).

    A depth of 10 has the layers of more depth, once each.
    """
    clip = array(8, 64, 64, 3)
    group_norm = batch_independent_norm.group_norm()
    frozen = batch_independent_norm.frozen_batch_norm()
    return {
        "avid": (avid_r2plus1d.R2Plus1D(**LOW), clip),
        "avid, group norm": (avid_r2plus1d.R2Plus1D(10, norm=group_norm, **LOW), clip),
        "avid, frozen batch norm": (avid_r2plus1d.R2Plus1D(10, norm=frozen, **LOW), clip),
        "vmz": (resnet3d.r2plus1d(**LOW), clip),
        "torchvision": (resnet3d.torchvision_r2plus1d(10, **LOW), clip),
        "r3d": (resnet3d.r3d(**LOW), clip),
        "mc2": (resnet3d.mc2(10, **LOW), clip),
        "mc3": (resnet3d.mc3(10, **LOW), clip),
        "i3d": (i3d.I3D(**LOW), array(16, 64, 64, 3)),
        "vgg mc3": (vgg_mc3.VGGMC3(**LOW), clip),
        "ccl student": (ccl_student.Student(**LOW), clip),
        "avid audio": (avid_convnet.AudioConvNet(**LOW), array(100, 129)),
        "avid audio, small": (
            avid_convnet.AudioConvNet(width=8 if dry else 64, small=True, **LOW),
            array(40, 65),
        ),
        "acoustic resnet": (acoustic_resnet.AcousticResNet(**LOW), array(100, 40)),
        "cnn14": (cnn14.Cnn14(512, **LOW), array(64, 64)),
        "listen to look": (listen_to_look.ListenNet(**LOW), array(101, 40)),
        "vgg m9": (vggm.VGGM9(**LOW), array(100, 40)),
        "resnet 18": (resnet.ResNet2D(**LOW), array(96, 96, 3)),
        "resnet 50": (resnet.ResNet2D(50, **LOW), array(96, 96, 3)),
        "l3 frames": (l3.VisionNet(**LOW), array(96, 96, 3)),
        "l3 audio": (l3.AudioNet(**LOW), array(100, 129)),
        "multisensory": (
            multisensory.Fused(**LOW),
            {"video": array(16, 64, 64, 3, dtype=jnp.uint8), "sounds": waveform(1, 11_210, 2)},
        ),
        "mlp": (mlp.Mlp((512, 512, 128), **LOW), array(512)),
        "pixels": (pixels.Normalize(**LOW), array(8, 64, 64, 3, dtype=jnp.uint8)),
        "spectrogram of avid": (spectrogram.Spectrogram(), waveform(24_000)),
        "spectrogram of l3": (spectrogram.LogMagnitude(), waveform(24_000)),
        "waveform of multisensory": (spectrogram.MuLaw(), waveform(24_000)),
        "log-mel of avts": (logmel.AVTS(24_000), waveform(24_000)),
        "log-mel of xdc": (logmel.XDC(), waveform(16_000)),
        "log-mel filter bank": (logmel.FilterBank(16_000), waveform(16_000)),
        "log-mel of panns": (logmel.PANNs(), waveform(32_000)),
        "log-mel of listen to look": (logmel.ListenToLook(), waveform(16_000)),
    }


def array(*shape, dtype=jnp.bfloat16):
    return jax.ShapeDtypeStruct((BATCH, *shape), dtype)


def waveform(*shape):
    return array(*shape, dtype=jnp.int16)


class Pool(nn.Module):
    """`max_pool`, which is no module of the nets."""

    window: tuple[int, int, int]
    strides: tuple[int, int, int]

    @nn.compact
    def __call__(self, x, train):
        return max_pool(x, self.window, self.strides)


def pools(dry):
    """{name: (a module of max pooling, shape of its input)}; the first only if `dry`."""
    x = array(4, 16, 16, 8) if dry else array(8, 28, 28, 64)
    return {f"{size} /{step}": (Pool(size, step), x) for size, step in POOLS[: 1 if dry else None]}
