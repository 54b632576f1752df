"""What AVID's nets and heads are called in their authors' files: {our path: their name}.

Paths begin with the collection: "params/conv1/conv/kernel".  Their names are those of the modules
of a PyTorch state dict, without the prefix under which a file keeps the net.
"""

from avjax.nets.r2plus1d import BLOCKS

LEAVES = {  # Of a module with normalization, or with weights.
    "norm": ("params/{}/scale", "params/{}/bias", "batch_stats/{}/mean", "batch_stats/{}/var"),
    "conv": ("params/{}/kernel",),
    "linear": ("params/{}/kernel", "params/{}/bias"),
}
THEIRS = {"kernel": "weight", "scale": "weight", "bias": "bias",
          "mean": "running_mean", "var": "running_var"}  # fmt: skip


def r2plus1d(depth: int = 18, **_) -> dict[str, str]:
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


def audio2d(**_) -> dict[str, str]:
    """AVID's audio net, `avjax.nets.audio2d.Conv2D`."""
    modules = {"conv1": ("conv1.0", "conv"), "conv1_norm": ("conv1.1", "norm")}
    for block in (1, 2, 3, 4):
        for n in (1, 2):
            modules[f"block{block}/conv{n}"] = f"block{block}.conv{n}", "conv"
            modules[f"block{block}/norm{n}"] = f"block{block}.bn{n}", "norm"
    return leaves(modules)


def mlp(widths, **_) -> dict[str, str]:
    """AVID's heads, `avjax.nets.heads.Mlp`: a ReLU stands between two layers of a Sequential."""
    return leaves(
        {f"linear{i + 1}": (f"projection.{2 * i}", "linear") for i in range(len(widths))}
    )


def leaves(modules: dict[str, tuple[str, str]]) -> dict[str, str]:
    """{path of a leaf: its name} from {path of a module: (its name, kind)}."""
    return {
        path.format(ours): f"{theirs}.{THEIRS[path.rsplit('/', 1)[1]]}"
        for ours, (theirs, kind) in modules.items()
        for path in LEAVES[kind]
    }


TABLES = {  # By the maker of a net that a config names.
    "avjax.nets.r2plus1d.R2Plus1D": r2plus1d,
    "avjax.nets.audio2d.Conv2D": audio2d,
    "avjax.nets.heads.Mlp": mlp,
}


def of(spec: dict) -> dict[str, str]:
    """The names of the net that the spec of a config makes; ValueError if none are known."""
    if spec.get("fn") not in TABLES:
        raise ValueError(f"no PyTorch names are known for {spec.get('fn')!r}, only {[*TABLES]}")
    return TABLES[spec["fn"]](**{k: v for k, v in spec.items() if k != "fn"})
