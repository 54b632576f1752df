"""The names that the authors' PyTorch programs give the arrays of the nets.

Each function returns {our path: (their name, layout)} for all arrays of a net.  A path begins
with its collection: `params/conv1/conv/kernel`, `batch_stats/conv1/norm/mean`.  The layouts are
theirs, of which the first two are the same change of axes, whatever their number:

    conv    [Cout, Cin, ...], ours [..., Cin, Cout]
    linear  [out, in], ours [in, out]
    same    as ours

A checkpoint may hold all of a net's names after a prefix, and arrays that a net lacks: the
classifier, and the counts `num_batches_tracked` of PyTorch's normalizations.
"""

from collections.abc import Callable, Sequence
from typing import Any

from avjax.nets.audio import acoustic_resnet, avid_convnet, cnn14, listen_to_look
from avjax.nets.image import resnet as resnet2d
from avjax.nets.layers import mlp as heads
from avjax.nets.video import avid_r2plus1d, ccl_student, i3d, resnet3d, vgg_mc3
from avjax.weights import names_audio
from avjax.weights.names_audio import Names, conv, norm


def torch_names(net: Any) -> Names:
    """Names all arrays of a module.

    Args:
      net: one of the classes of TABLES.

    Raises:
      ValueError: no names are known for its class.
    """
    if type(net) not in TABLES:
        raise ValueError(f"no PyTorch names are known for {type(net).__name__}")
    return TABLES[type(net)](net)


def avid_video(net: avid_r2plus1d.R2Plus1D) -> Names:
    """Names AVID's arrays; after the prefix `video_model.` in its checkpoints."""
    names = conv("conv1/conv", "conv1.0") | norm("conv1/norm", "conv1.1")
    for stage, i, flax_name in blocks(avid_r2plus1d.BLOCKS[net.depth]):
        # A stage of one block is the block itself.
        torch_name = f"conv{stage + 2}x" + (f".{i}" if net.depth != 10 else "")
        for n in (1, 2):
            names |= conv(f"{flax_name}/spatial{n}", f"{torch_name}.spt_conv{n}")
            names |= norm(f"{flax_name}/spatial{n}_norm", f"{torch_name}.spt_bn{n}")
            names |= conv(f"{flax_name}/temporal{n}", f"{torch_name}.tmp_conv{n}")
        names |= norm(f"{flax_name}/temporal1_norm", f"{torch_name}.tmp_bn1")
        names |= norm(f"{flax_name}/norm", f"{torch_name}.out_bn")
        if stage and not i:
            names |= conv(f"{flax_name}/shortcut", f"{torch_name}.res_conv")
    return names


def mlp(net: heads.Mlp) -> Names:
    """Names AVID's heads, `video_proj.` or `audio_proj.`; a ReLU is between two layers."""
    names = {}
    for i in range(len(net.widths)):
        names |= conv(f"linear{i + 1}", f"projection.{2 * i}", "linear", bias=True)
    return names


def video_resnet(net: resnet3d.VideoResNet) -> Names:
    """Names torchvision's and GDT's arrays, and XDC's, which changed torchvision's program."""
    names = {}
    stem, *stages = net.convs
    if stem == "full":
        names |= conv("conv1/conv", "stem.0") | norm("conv1/norm", "stem.1")
    else:
        names |= conv("conv1/conv/spatial", "stem.0") | norm("conv1/conv/norm", "stem.1")
        names |= conv("conv1/conv/temporal", "stem.3") | norm("conv1/norm", "stem.4")
    for stage, i, flax_name in blocks(avid_r2plus1d.BLOCKS[net.depth]):
        torch_name = f"layer{stage + 1}.{i}"
        for n in (1, 2):
            at, torch_path = f"{flax_name}/conv{n}", f"{torch_name}.conv{n}"
            if stages[stage] in ("full", "flat"):
                names |= conv(at, f"{torch_path}.0")
            else:
                names |= conv(f"{at}/spatial", f"{torch_path}.0.0")
                names |= norm(f"{at}/norm", f"{torch_path}.0.1")
                names |= conv(f"{at}/temporal", f"{torch_path}.0.3")
            names |= norm(f"{at}_norm", f"{torch_path}.1")
        if stage and not i:
            names |= shortcut(flax_name, torch_name)
    return names


def resnet(net: resnet2d.ResNet2D) -> Names:
    """Names the arrays of torchvision's ResNets."""
    names = conv("conv1", "conv1") | norm("conv1_norm", "bn1")
    wide = net.depth >= 50
    for stage, i, flax_name in blocks(resnet2d.BLOCKS[net.depth]):
        torch_name = f"layer{stage + 1}.{i}"
        for n in (1, 2, 3) if wide else (1, 2):
            names |= conv(f"{flax_name}/conv{n}", f"{torch_name}.conv{n}")
            names |= norm(f"{flax_name}/conv{n}_norm", f"{torch_name}.bn{n}")
        if not i and (stage or wide):
            names |= shortcut(flax_name, torch_name)
    return names


def student(net: ccl_student.Student) -> Names:
    """Names CCL's arrays; depth 34 follows https://github.com/irhum/R2Plus1D-PyTorch, unchecked."""
    names = factorized("conv1", "conv1") | norm("norm1", "bn1")
    for stage, i, flax_name in blocks(avid_r2plus1d.BLOCKS[net.depth]):
        torch_name = f"conv{stage + 2}." + (f"blocks.{i - 1}" if i else "block1")
        for n in (1, 2):
            names |= factorized(f"{flax_name}/conv{n}", f"{torch_name}.conv{n}")
            names |= norm(f"{flax_name}/conv{n}_norm", f"{torch_name}.bn{n}")
        if stage and not i:
            names |= factorized(f"{flax_name}/shortcut", f"{torch_name}.downsampleconv")
            names |= norm(f"{flax_name}/shortcut_norm", f"{torch_name}.downsamplebn")
    return names


def inception(_: i3d.I3D) -> Names:
    """Names pytorch-i3d's arrays; its classifier is `logits.conv3d`."""
    units = {
        "conv1a": "Conv3d_1a_7x7",
        "conv2b": "Conv3d_2b_1x1",
        "conv2c": "Conv3d_2c_3x3",
    }
    for mixed in i3d.MIXED:
        torch_name = mixed.replace("mixed", "Mixed_")
        units |= {f"{mixed}/{branch}": f"{torch_name}.{branch}" for branch in i3d.BRANCHES}
    names = {}
    for flax_name, torch_name in units.items():
        names |= conv(f"{flax_name}/conv", f"{torch_name}.conv3d") | norm(
            f"{flax_name}/norm", f"{torch_name}.bn"
        )
    return names


def vgg(_: vgg_mc3.VGGMC3) -> Names:
    """Names the arrays of a net of AVID's authors before the release."""
    names = conv("conv1", "conv1.0") | norm("conv1_norm", "conv1.1")
    for stage in (2, 3, 4, 5):
        for n in (1, 2):
            names |= conv(f"conv{stage}x/conv{n}", f"conv{stage}x.0.conv{n}")
            names |= norm(f"conv{stage}x/norm{n}", f"conv{stage}x.0.bn{n}")
    return names


TABLES: dict[type, Callable] = {
    avid_r2plus1d.R2Plus1D: avid_video,
    avid_convnet.AudioConvNet: lambda _: names_audio.avid_convnet(),
    heads.Mlp: mlp,
    resnet3d.VideoResNet: video_resnet,
    resnet2d.ResNet2D: resnet,
    ccl_student.Student: student,
    i3d.I3D: inception,
    vgg_mc3.VGGMC3: vgg,
    acoustic_resnet.AcousticResNet: lambda _: names_audio.acoustic(),
    cnn14.Cnn14: lambda _: names_audio.cnn14(),
    listen_to_look.ListenNet: lambda _: names_audio.listen(),
}


def blocks(counts: Sequence[int]) -> list[tuple[int, int, str]]:
    """Lists the blocks of a residual net.

    Args:
      counts: blocks of each stage.

    Returns:
      (stage, number in the stage, our name) of each block.
    """
    return [(s, i, f"conv{s + 2}x_{i}") for s, count in enumerate(counts) for i in range(count)]


def factorized(flax_name: str, torch_name: str) -> Names:
    """Names CCL's convolution in space and time.

    Args:
      flax_name, torch_name: of the layer.
    """
    return (
        conv(f"{flax_name}/spatial", f"{torch_name}.spatial_conv")
        | norm(f"{flax_name}/norm", f"{torch_name}.bn")
        | conv(f"{flax_name}/temporal", f"{torch_name}.temporal_conv")
    )


def shortcut(flax_name: str, torch_name: str) -> Names:
    """Names torchvision's shortcut, in image and video nets.

    Args:
      flax_name, torch_name: of the block.
    """
    return conv(f"{flax_name}/shortcut", f"{torch_name}.downsample.0") | norm(
        f"{flax_name}/shortcut_norm", f"{torch_name}.downsample.1"
    )
