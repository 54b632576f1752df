"""What nets and heads are called in their authors' files: {our path: (their name, layout)}.

As in `avjax.nets.audio_names`: paths begin with the collection, "params/conv1/conv/kernel", and
names lack the prefix under which a file keeps the net.
"""

from avjax.nets import audio_names
from avjax.nets.r2plus1d import BLOCKS

KERNEL, BIAS = ("params", "kernel", "weight"), ("params", "bias", "bias")
LEAVES = {  # Of a kind of module: collection, our name, theirs.
    "conv": (KERNEL,),
    "linear": (KERNEL, BIAS),
    "norm": (
        ("params", "scale", "weight"),
        BIAS,
        ("batch_stats", "mean", "running_mean"),
        ("batch_stats", "var", "running_var"),
    ),
}


def r2plus1d(depth: int = 18, **_) -> dict:
    """AVID's video net, `avjax.nets.r2plus1d.R2Plus1D`."""
    modules = {"conv1/conv": ("conv1.0", "conv"), "conv1/norm": ("conv1.1", "norm")}
    for stage, blocks in enumerate(BLOCKS[depth]):
        for i in range(blocks):
            ours, theirs = f"conv{stage + 2}x_{i}", f"conv{stage + 2}x.{i}"
            for n in (1, 2):
                modules[f"{ours}/spatial{n}"] = f"{theirs}.spt_conv{n}", "conv"
                modules[f"{ours}/spatial{n}_norm"] = f"{theirs}.spt_bn{n}", "norm"
                modules[f"{ours}/temporal{n}"] = f"{theirs}.tmp_conv{n}", "conv"
            modules[f"{ours}/temporal1_norm"] = f"{theirs}.tmp_bn1", "norm"
            modules[f"{ours}/norm"] = f"{theirs}.out_bn", "norm"
            if stage and not i:
                modules[f"{ours}/shortcut"] = f"{theirs}.res_conv", "conv"
    return leaves(modules)


def mlp(widths, **_) -> dict:
    """AVID's heads, `avjax.nets.heads.Mlp`: a ReLU stands between two layers of a Sequential."""
    return leaves({f"linear{i + 1}": (f"projection.{2 * i}", "linear") for i in range(len(widths))})


def leaves(modules: dict[str, tuple[str, str]]) -> dict:
    """{path of a leaf: (its name, layout)} from {path of a module: (its name, kind)}."""
    return {
        f"{collection}/{ours}/{leaf}": (f"{theirs}.{name}", kind if leaf == "kernel" else "same")
        for ours, (theirs, kind) in modules.items()
        for collection, leaf, name in LEAVES[kind]
    }


TABLES = {  # By the maker of a net that a config names.
    "avjax.nets.r2plus1d.R2Plus1D": r2plus1d,
    "avjax.nets.heads.Mlp": mlp,
    "avjax.nets.audio2d.Conv2D": lambda **_: audio_names.conv2d(),
    "avjax.nets.cnn14.Cnn14": lambda **_: audio_names.cnn14(),
    "avjax.nets.acoustic.AcousticResNet": lambda **_: audio_names.acoustic(),
    "avjax.nets.listen.ListenNet": lambda **_: audio_names.listen(),
}


def of(spec: dict) -> dict:
    """The names of the net that the spec of a config makes; ValueError if none are known."""
    if spec.get("fn") not in TABLES:
        raise ValueError(f"no PyTorch names are known for {spec.get('fn')!r}, only {[*TABLES]}")
    return TABLES[spec["fn"]](**{k: v for k, v in spec.items() if k != "fn"})
