"""The names that the authors' programs give the arrays of the audio nets.

Each function returns {our path: (their name, layout)} for all arrays of a net, or those that
were published.  A path begins with its collection: `params/conv1/kernel`,
`batch_stats/conv1_norm/mean`.  The layouts are theirs:

    conv    [Cout, Cin, kh, kw], ours [kh, kw, Cin, Cout]
    turned  [Cout, Cin, kw, kh]: their frequencies come before time, ours after
    linear  [out, in], ours [in, out]
    same    as ours
"""


def conv2d() -> dict:
    """AVID's `avid_convnet.Conv2D`; in a checkpoint of AVID after the prefix `audio_model.`."""
    names = conv("conv1", "conv1.0") | norm("conv1_norm", "conv1.1")
    for i in (1, 2, 3, 4):
        for j in (1, 2):
            names |= conv(f"block{i}/conv{j}", f"block{i}.conv{j}")
            names |= norm(f"block{i}/norm{j}", f"block{i}.bn{j}")
    return names


def vggm9() -> dict:
    """The five convolutions of `vggm.VGGM9` that SyncNet's audio net has too."""
    names = {}
    for i, at in enumerate((0, 4, 8, 11, 14)):
        names |= conv(f"conv{i + 1}/conv", f"netcnnaud.{at}", "turned", bias=True)
        names |= norm(f"conv{i + 1}/norm", f"netcnnaud.{at + 1}")
    return names


def acoustic() -> dict:
    """VMZ's `acoustic_resnet.AcousticResNet`: blobs of Caffe2, without the prefix `a_` of pairs."""
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
            theirs = f"shortcut_projection_{n}"
            names[f"params/{block}/shortcut/kernel"] = (f"{theirs}_w", "conv")
            names |= _caffe(f"{block}/shortcut_norm", f"{theirs}_spatbn")
    return names


def cnn14() -> dict:
    """PANNs' `cnn14.Cnn14`, of any embedding; `fc_audioset` is the head, not here."""
    names = norm("norm", "bn0")
    for i in range(1, 7):
        for j in (1, 2):
            names |= conv(f"block{i}/conv{j}", f"conv_block{i}.conv{j}")
            names |= norm(f"block{i}/norm{j}", f"conv_block{i}.bn{j}")
    return names | conv("linear", "fc1", "linear", bias=True)


def listen() -> dict:
    """Listen to Look's `ListenNet`; the first kernel is also there as `conv1.weight`."""
    names = conv("conv1", "feature_extraction.0") | norm("conv1_norm", "feature_extraction.1")
    for i in (2, 3, 4, 5):
        for j in (0, 1):
            ours, theirs = f"conv{i}x_{j}", f"feature_extraction.{i + 2}.{j}"
            for k in (1, 2):
                names |= conv(f"{ours}/conv{k}", f"{theirs}.conv{k}")
                names |= norm(f"{ours}/conv{k}_norm", f"{theirs}.bn{k}")
            if i > 2 and j == 0:
                names |= conv(f"{ours}/shortcut", f"{theirs}.downsample.0")
                names |= norm(f"{ours}/shortcut_norm", f"{theirs}.downsample.1")
    return names | conv("frequency", "freq_conv1x1", bias=True)


def conv(ours, theirs, layout="conv", bias=False):
    """A kernel and, if asked for, its bias."""
    kernel = {f"params/{ours}/kernel": (f"{theirs}.weight", layout)}
    return kernel | ({f"params/{ours}/bias": (f"{theirs}.bias", "same")} if bias else {})


def norm(ours, theirs):
    """PyTorch's batch normalization."""
    return {
        f"params/{ours}/scale": (f"{theirs}.weight", "same"),
        f"params/{ours}/bias": (f"{theirs}.bias", "same"),
        f"batch_stats/{ours}/mean": (f"{theirs}.running_mean", "same"),
        f"batch_stats/{ours}/var": (f"{theirs}.running_var", "same"),
    }


def _caffe(ours, theirs):
    # `riv` is the running variance in spite of its name, the inverse of nothing.
    return {
        f"params/{ours}/scale": (f"{theirs}_s", "same"),
        f"params/{ours}/bias": (f"{theirs}_b", "same"),
        f"batch_stats/{ours}/mean": (f"{theirs}_rm", "same"),
        f"batch_stats/{ours}/var": (f"{theirs}_riv", "same"),
    }
