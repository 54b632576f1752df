"""PyTorch names of the arrays of the audio nets.

Each function returns {our path: (their name, layout)} for all arrays of a net, or those that were
published.  A path starts with its collection: `params/conv1/kernel`, `batch_stats/conv1_norm/mean`.
Layouts are theirs:

    conv        [Cout, Cin, kh, kw], ours [kh, kw, Cin, Cout]
    transposed  [Cout, Cin, kw, kh]: frequency before time, ours after
    linear      [out, in], ours [in, out]
    same        as ours
"""

Names = dict[str, tuple[str, str]]  # {our path: (their name, layout)}


def avid_convnet() -> Names:
    """Names AVID's `avid_convnet.AudioConvNet`; its checkpoints have the prefix `audio_model.`."""
    names = conv("conv1", "conv1.0") | norm("conv1_norm", "conv1.1")
    for i in (1, 2, 3, 4):
        for j in (1, 2):
            names |= conv(f"block{i}/conv{j}", f"block{i}.conv{j}")
            names |= norm(f"block{i}/norm{j}", f"block{i}.bn{j}")
    return names


def vggm9() -> Names:
    """Names the five convolutions of `vggm.VGGM9` that SyncNet's audio net has too."""
    names = {}
    for i, at in enumerate((0, 4, 8, 11, 14)):
        names |= conv(f"conv{i + 1}/conv", f"netcnnaud.{at}", "transposed", bias=True)
        names |= norm(f"conv{i + 1}/norm", f"netcnnaud.{at + 1}")
    return names


def acoustic() -> Names:
    """Names VMZ's `acoustic_resnet.AcousticResNet`: Caffe2 blobs without the prefix `a_`."""
    names = {
        "params/conv1/kernel": ("conv1_w", "conv"),
        "params/conv1/bias": ("conv1_b", "same"),
    }
    blocks = [f"conv{i + 1}x_{j}" for i, n in enumerate((3, 2, 2, 2, 2)) for j in range(n)]
    for n, block in enumerate(blocks):
        for j in (1, 2):
            names[f"params/{block}/conv{j}/kernel"] = (f"comp_{n}_conv_{j}_w", "conv")
            names |= _caffe(f"{block}/conv{j}_norm", f"comp_{n}_spatbn_{j}")
        if block.endswith("_0"):
            torch_name = f"shortcut_projection_{n}"
            names[f"params/{block}/shortcut/kernel"] = (f"{torch_name}_w", "conv")
            names |= _caffe(f"{block}/shortcut_norm", f"{torch_name}_spatbn")
    return names


def cnn14() -> Names:
    """Names PANNs' `cnn14.Cnn14`, of any embedding; `fc_audioset` is the head, not here."""
    names = norm("norm", "bn0")
    for i in range(1, 7):
        for j in (1, 2):
            names |= conv(f"block{i}/conv{j}", f"conv_block{i}.conv{j}")
            names |= norm(f"block{i}/norm{j}", f"conv_block{i}.bn{j}")
    return names | conv("linear", "fc1", "linear", bias=True)


def listen() -> Names:
    """Names Listen to Look's `ListenNet`; the first kernel is also there as `conv1.weight`."""
    names = conv("conv1", "feature_extraction.0") | norm("conv1_norm", "feature_extraction.1")
    for i in (2, 3, 4, 5):
        for j in (0, 1):
            flax_name, torch_name = f"conv{i}x_{j}", f"feature_extraction.{i + 2}.{j}"
            for k in (1, 2):
                names |= conv(f"{flax_name}/conv{k}", f"{torch_name}.conv{k}")
                names |= norm(f"{flax_name}/conv{k}_norm", f"{torch_name}.bn{k}")
            if i > 2 and j == 0:
                names |= conv(f"{flax_name}/shortcut", f"{torch_name}.downsample.0")
                names |= norm(f"{flax_name}/shortcut_norm", f"{torch_name}.downsample.1")
    return names | conv("frequency", "freq_conv1x1", bias=True)


def conv(flax_name: str, torch_name: str, layout: str = "conv", bias: bool = False) -> Names:
    """Names a kernel and optionally its bias.

    Args:
      flax_name, torch_name: of the layer.
      layout: of the kernel.
      bias: whether there is a bias.
    """
    kernel = {f"params/{flax_name}/kernel": (f"{torch_name}.weight", layout)}
    return kernel | ({f"params/{flax_name}/bias": (f"{torch_name}.bias", "same")} if bias else {})


def norm(flax_name: str, torch_name: str) -> Names:
    """Names the arrays of PyTorch's batch normalization.

    Args:
      flax_name, torch_name: of the layer.
    """
    return {
        f"params/{flax_name}/scale": (f"{torch_name}.weight", "same"),
        f"params/{flax_name}/bias": (f"{torch_name}.bias", "same"),
        f"batch_stats/{flax_name}/mean": (f"{torch_name}.running_mean", "same"),
        f"batch_stats/{flax_name}/var": (f"{torch_name}.running_var", "same"),
    }


def _caffe(flax_name, torch_name):
    # `riv` is the running variance in spite of its name, the inverse of nothing.
    return {
        f"params/{flax_name}/scale": (f"{torch_name}_s", "same"),
        f"params/{flax_name}/bias": (f"{torch_name}_b", "same"),
        f"batch_stats/{flax_name}/mean": (f"{torch_name}_rm", "same"),
        f"batch_stats/{flax_name}/var": (f"{torch_name}_riv", "same"),
    }
