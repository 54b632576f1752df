"""Sources of encoders without heads: XDC, torchvision, GDT, I3D, PANNs.

Heads of other tasks are ignored and listed.
"""

from typing import Any

from avjax.nets.image import resnet
from avjax.nets.video import avid_r2plus1d
from avjax.weights.convert import join_names, plain_state_dict
from avjax.weights.imported import Weights, infer_depth, require_key, unwrap_model

# Mean and standard deviation of their pixels, in 0 ... 1.
KINETICS = dict(mean=(0.43216, 0.394666, 0.37645), std=(0.22803, 0.22145, 0.216989))
HALF = dict(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
FC = (r"fc\..*",)


def xdc(contents: Any) -> Weights:
    """Reads XDC's video net, or its supervised baselines.

    Args:
      contents: of the file.
    """
    state = plain_state_dict(contents)
    depth = _stages(state, avid_r2plus1d.BLOCKS)
    encoder = dict(fn="avjax.nets.video.resnet3d.r2plus1d", depth=depth, width=_width(state))
    return _video(state, encoder, KINETICS, clip(32, 30.0, 112))


def torchvision(contents: Any) -> Weights:
    """Reads torchvision's video nets and ResNets, recognized by their arrays.

    Args:
      contents: of the file.
    """
    state = plain_state_dict(contents)
    if "conv1.weight" in state:
        encoder = _resnet(state)
        return _video(state, encoder, {}, clip(1, 1.0, 224), (1, 1, 64, 64, 3))
    first, second = (f"layer{n}.0.conv1.0.weight" for n in (1, 2))
    if "layer1.0.conv1.0.0.weight" in state:
        kind = "torchvision_r2plus1d"
    elif require_key(state, second).shape[2] == 3:
        kind = "r3d"
    else:
        kind = "mc3" if require_key(state, first).shape[2] == 3 else "mc2"
    depth = _stages(state, avid_r2plus1d.BLOCKS)
    encoder = dict(fn=f"avjax.nets.video.resnet3d.{kind}", depth=depth, width=_width(state, kind))
    return _video(state, encoder, KINETICS, clip(16, 15.0, 112))


def gdt(contents: Any) -> Weights:
    """Reads both encoders of GDT, without its heads.

    Its audio net has frequency first, ours time, so kernels are transposed.

    Args:
      contents: of the file.
    """
    state = plain_state_dict(unwrap_model(contents))
    video, audio = (_under(state, f"{m}_network.base.") for m in ("video", "audio"))
    depth = _stages(video, avid_r2plus1d.BLOCKS)
    encoders = dict(
        video=dict(
            fn="avjax.nets.video.resnet3d.torchvision_r2plus1d",
            depth=depth,
            width=_width(video, "torchvision_r2plus1d"),
        ),
        audio=_resnet(audio),
    )
    frontends = dict(
        video=dict(fn="avjax.nets.frontends.pixels.Normalize", **KINETICS),
        audio=dict(
            fn="avjax.nets.frontends.logmel.FilterBank", sample_rate=24_000, mean=1.93, std=17.89
        ),
    )
    return Weights(
        state,
        {
            "encoders_video": ("video_network.base.", "conv"),
            "encoders_audio": ("audio_network.base.", "transposed"),
        },
        towers(frontends, encoders),
        dict(
            num_frames=30, fps=30.0, audio_seconds=1.0, sample_rate=24_000, num_clips=10, size=112
        ),
        {"video": (1, 8, 64, 64, 3), "audio": (1, 99, 40)},
        ignored=(r"mlp_[va]\..*", r"(audio|video)_network\.base\.fc\..*"),
    )


def i3d(contents: Any) -> Weights:
    """Reads I3D of RGB, of pytorch-i3d.

    Args:
      contents: of the file.
    """
    state = plain_state_dict(contents)
    encoder = dict(
        fn="avjax.nets.video.i3d.I3D",
        width=require_key(state, "Conv3d_1a_7x7.conv3d.weight").shape[0],
    )
    found = _video(state, encoder, HALF, clip(64, 25.0, 224))
    return found._replace(ignored=(r"logits\..*",))


def panns(contents: Any) -> Weights:
    """Reads CNN14 of PANNs with any embedding; AudioSet's head is ignored.

    Args:
      contents: of the file, {"model", "iteration"}.
    """
    state = plain_state_dict(unwrap_model(contents))
    encoder = dict(
        fn="avjax.nets.audio.cnn14.Cnn14",
        embedding=require_key(state, "fc1.weight").shape[0],
        width=require_key(state, "conv_block1.conv1.weight").shape[0],
    )
    return Weights(
        state,
        {"encoders_audio": ("", "conv")},
        towers(dict(audio=dict(fn="avjax.nets.frontends.logmel.PANNs")), dict(audio=encoder)),
        dict(num_frames=0, fps=1.0, audio_seconds=10.0, sample_rate=32_000, num_clips=1),
        {"audio": (1, 100, 64)},
        ignored=(r"fc_audioset\..*", r"spectrogram_extractor\..*", r"logmel_extractor\..*"),
    )


def clip(frames: int, fps: float, size: int) -> dict:
    """Describes the clips of a video net without audio: ten per file.

    Args:
      frames: number of frames.
      fps: frames per second.
      size: of the frames, in pixels.

    Returns:
      `clip` of Weights.
    """
    return dict(
        num_frames=frames, fps=fps, audio_seconds=0.0, sample_rate=16_000, num_clips=10, size=size
    )


def towers(frontends: dict[str, dict], encoders: dict[str, dict]) -> dict:
    """Returns the spec of Towers without heads: an embedding is the features, at unit length.

    Args:
      frontends, encoders: {modality: spec}.
    """
    none = dict(fn="avjax.nets.layers.mlp.Mlp", widths=())
    return dict(
        fn="avjax.nets.towers.Towers",
        frontends=frontends,
        encoders=encoders,
        heads={m: none for m in encoders},
    )


def _video(state, encoder, pixels, seen, tried=(1, 8, 64, 64, 3)):
    front = dict(fn="avjax.nets.frontends.pixels.Normalize", **pixels)
    model = towers(dict(video=front), dict(video=encoder))
    return Weights(
        state, {"encoders_video": ("", "conv")}, model, seen, {"video": tried}, ignored=FC
    )


def _resnet(state):
    wide = "layer1.0.conv3.weight" in state
    table = {d: b for d, b in resnet.BLOCKS.items() if (d >= 50) == wide}
    width = require_key(state, "conv1.weight").shape[0]
    return dict(fn="avjax.nets.image.resnet.ResNet2D", depth=_stages(state, table), width=width)


def _stages(state, table):
    """The depth of a residual net, from the blocks of its four stages."""
    counts = tuple(
        len({name.split(".")[1] for name in state if name.startswith(f"layer{stage}.")})
        for stage in (1, 2, 3, 4)
    )
    return infer_depth(table, counts, state)


def _width(state, kind="r2plus1d"):
    name = "stem.3.weight" if kind.endswith("r2plus1d") else "stem.0.weight"
    return require_key(state, name).shape[0]


def _under(state, prefix):
    """The arrays under a prefix, without it."""
    found = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
    if not found:
        raise ValueError(f"no arrays under {prefix!r}; available: {join_names(state, 6)}")
    return found
