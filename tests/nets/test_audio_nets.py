"""The audio nets against PyTorch, which shares their weights but no code.

Weights are drawn again from a seed, not stored: the arrays in `golden/nets_audio.npz` were
computed with them.  Listen to Look's and SyncNet's are outputs of the authors' programs, those
of CNN14 and VMZ's net of one written in PyTorch after the authors', in float64.
"""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from avjax.nets.audio.acoustic_resnet import AcousticResNet
from avjax.nets.audio.avid_convnet import AudioConvNet
from avjax.nets.audio.cnn14 import Cnn14
from avjax.nets.audio.listen_to_look import ListenNet
from avjax.nets.audio.vggm import VGGM9, Layer
from avjax.nets.flops import gmacs
from avjax.nets.frontends import logmel
from avjax.nets.layers.max_pool import max_pool
from avjax.nets.layers.mlp import Linear
from avjax.weights import names_audio
from tests.nets.reference_weights import (
    checked,
    close,
    drawn_by_name,
    loaded,
    normal,
    shapes,
    stored,
)

# Our axes, in the order of their array.
THEIRS = {"conv": (3, 2, 0, 1), "transposed": (3, 2, 1, 0), "linear": (1, 0)}
NETS = {
    "vggm9": (VGGM9, (1, 100, 40)),
    "acoustic": (AcousticResNet, (1, 100, 40)),
    "cnn14": (Cnn14, (1, 32, 64)),
    "listen": (ListenNet, (1, 101, 40)),
    "avid_convnet": (AudioConvNet, (1, 100, 129)),
}


@pytest.fixture(scope="module")
def arrays(golden):
    return golden("nets_audio")


def drawn(seed, shapes):
    """{name: array} by the recipe of the goldens: one stream, in the order of the names."""
    rs, out = np.random.RandomState(seed), {}
    for name, shape in sorted(shapes.items()):
        if name.endswith(("running_var", "_riv")):
            value = rs.uniform(0.5, 1.5, shape)
        elif len(shape) > 1:
            value = rs.standard_normal(shape) * np.prod(shape[1:]) ** -0.5
        elif name.endswith(("bias", "_b", "running_mean", "_rm")):
            value = 0.1 * rs.standard_normal(shape)
        else:
            value = rs.uniform(0.5, 1.5, shape)
        out[name] = value.astype(np.float32)
    return out


def holding(net, x, names, draw):
    """Variables of `net` for an input of shape `x`: what `draw` makes of {their name: shape}."""
    theirs = {}
    for path, shape in shapes(net, x).items():
        name, layout = names[path]
        theirs[name] = tuple(shape[i] for i in THEIRS[layout]) if layout != "same" else shape
    return loaded(names, draw(theirs))


def fresh(net, x):
    """Variables of `net` for an input like `x`, each near what training would leave."""
    rs, out = np.random.RandomState(0), {}
    for path, shape in shapes(net, x).items():
        value = rs.standard_normal(shape) * (np.prod(shape[:-1]) ** -0.5 if shape[1:] else 0.1)
        value += path.endswith(("scale", "var"))
        out[path] = value.astype(np.float32)
    return unflatten_dict(out, sep="/")


def evaluate(net, variables, x):
    return np.asarray(jax.jit(lambda v, x: net.apply(v, x, False))(variables, x))


@pytest.mark.parametrize("name", ["avid_convnet", "acoustic", "cnn14", "listen"])
def test_every_array_has_a_unique_name(name):
    make, x = NETS[name]
    names = getattr(names_audio, name)()
    assert set(names) == set(shapes(make(), x))
    assert len({theirs for theirs, _ in names.values()}) == len(names)


def test_cnn14_of_512_matches_panns(arrays):
    net, x = Cnn14(embedding=512), normal(302, 2, 1, 75, 64)[:, 0]
    variables = holding(net, x.shape, names_audio.cnn14(), lambda s: drawn(301, s))
    out = evaluate(net, variables, x)
    close(out, arrays["cnn14/features"])
    low = evaluate(Cnn14(embedding=512, dtype="bfloat16"), variables, x)
    close(low.astype(np.float32), out, 0.05)


def test_acoustic_net_matches_vmz(arrays):
    net, x = AcousticResNet(), normal(312, 2, 1, 100, 40)[:, 0]
    variables = holding(net, x.shape, names_audio.acoustic(), lambda s: drawn(311, s))
    close(evaluate(net, variables, x), arrays["acoustic/features"])


def test_listen_to_look_net_matches_reference(arrays):
    net, x = ListenNet(), arrays["listen/spectrogram"][:, 0]
    variables = holding(net, x.shape, names_audio.listen(), lambda s: drawn_by_name(s.items()))
    close(evaluate(net, variables, x), arrays["listen/features"])


class SyncNet(nn.Module):
    """The audio net of SyncNet, [B, 20, 13], of the layers of VGG-M 9."""

    @nn.compact
    def __call__(self, x, train):
        def layer(i, features, x, kernel=(3, 3), pads=None):
            return Layer(features, kernel, pads, "float32", VGGM9.norm, name=f"conv{i}")(x, train)

        none = ((0, 0), (0, 0))
        x = layer(1, 64, x[..., None])
        x = max_pool(layer(2, 192, x), (3, 3), (2, 1), none)
        x = layer(4, 256, layer(3, 384, x))
        x = max_pool(layer(5, 256, x), (3, 3), (2, 2), none)
        x = layer(6, 512, x, (4, 5), none).reshape(len(x), -1)
        x = nn.relu(VGGM9.norm(name="fc7_norm")(Linear(512, name="fc7")(x, train), train))
        return Linear(1024, name="fc8")(x, train)


def test_vggm9_layers_match_syncnet(arrays):
    """Its weights go into the first five convolutions of VGG-M 9 as they are."""
    names = names_audio.vggm9()
    conv, norm = names_audio.conv, names_audio.norm
    names |= conv("conv6/conv", "netcnnaud.18", "transposed", bias=True)
    names |= norm("conv6/norm", "netcnnaud.19")
    names |= conv("fc7", "netfcaud.0", "linear", bias=True) | norm("fc7_norm", "netfcaud.1")
    names |= conv("fc8", "netfcaud.3", "linear", bias=True)

    def draw(asked):
        """All of SyncNet's: those of the lips are drawn in between."""
        keys = arrays["syncnet/sd_keys"]
        all_of_it = dict(stored(keys, arrays["syncnet/sd_shapes"]))
        assert {k: all_of_it[k] for k in asked} == asked
        return checked(drawn(221, all_of_it), keys, arrays["syncnet/sd_sum"])

    x = normal(222, 2, 1, 13, 20)[:, 0].swapaxes(1, 2)
    out = evaluate(SyncNet(), holding(SyncNet(), x.shape, names, draw), x)
    close(out, arrays["syncnet/features"])
    mine = shapes(VGGM9(), (1, 100, 40))
    theirs = shapes(SyncNet(), x.shape)
    assert all(mine[path] == theirs[path] for path in names_audio.vggm9())


@pytest.mark.parametrize(
    "net, x, count",
    [
        (VGGM9(), (1, 100, 40), 3_961_280),
        (AcousticResNet(), (1, 100, 40), 11_202_528),
        (Cnn14(), (1, 32, 64), 80_753_615 - 2049 * 527),  # PANNs' own count has a head.
        (Cnn14(embedding=512), (1, 32, 64), 76_526_528),
        # An image ResNet-18 of 11,689,512 less its classifier, and a stem of one channel.
        (ListenNet(), (1, 101, 40), 11_689_512 - 513 * 1000 - 2 * 64 * 49 + 4),
    ],
)
def test_parameter_counts_match_papers(net, x, count):
    tree = {path: s for path, s in shapes(net, x).items() if path.startswith("params/")}
    assert sum(int(np.prod(s)) for s in tree.values()) == count
    assert f"{count:,}" in type(net).__doc__


@pytest.mark.parametrize("name, x", [("vggm9", (1, 100, 40)), ("acoustic", (1, 100, 40)),
                                     ("cnn14", (1, 1001, 64)), ("listen", (1, 101, 40))])  # fmt: skip
def test_docstrings_state_gmacs(name, x):
    """20.04 GMACs of CNN14 and 1.05 of its Fourier transform are the 42.2 GFLOPs of PANNs."""
    net = NETS[name][0]
    said = float(re.search(r"([\d.]+) GMACs", net.__doc__).group(1))
    assert abs(gmacs(net(), x) / said - 1) < 2e-3


@pytest.mark.parametrize("name", ["vggm9", "acoustic", "cnn14", "listen"])
def test_bfloat16_affects_activations_only(name):
    """And a spectrogram may have a channel of its own."""
    make, shape = NETS[name]
    x = normal(3, 4, *shape[1:])
    high, low = (make(width=8, dtype=dtype) for dtype in ("float32", "bfloat16"))
    variables = fresh(high, shape)

    @jax.jit
    def run(v, x):
        return high.apply(v, x, False), high.apply(v, x[..., None], False), low.apply(v, x, False)

    a, b, c = run(variables, x)
    np.testing.assert_array_equal(a, b)
    assert a.shape == (4, 2048 if name == "cnn14" else 64) and c.dtype == jnp.bfloat16
    close(c.astype(jnp.float32), a, 0.05)

    def loss(params):
        out, stats = low.apply({**variables, "params": params}, x, True, mutable=True)
        return out.astype(jnp.float32).sum(), stats

    grads, stats = jax.eval_shape(jax.grad(loss, has_aux=True), variables["params"])
    assert {leaf.dtype for leaf in jax.tree.leaves((grads, stats))} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    "front, net, sound",
    [
        (logmel.AVTS(48_000), VGGM9(), (1, 48_000)),
        (logmel.XDC(), AcousticResNet(), (1, 16_000)),
        (logmel.PANNs(), Cnn14(512), (1, 320_000)),
        (logmel.ListenToLook(), ListenNet(), (1, 16_000)),
    ],
)
def test_front_end_output_fits_its_net(front, net, sound):
    spectrogram = jax.ShapeDtypeStruct(sound, jnp.int16)
    spectrogram, _ = jax.eval_shape(lambda x: front.init_with_output({}, x, False), spectrogram)
    features, _ = jax.eval_shape(
        lambda x: net.init_with_output(jax.random.key(0), x, False), spectrogram
    )
    assert features.shape == (1, 512)


@pytest.mark.parametrize(
    "net, x, words",
    [(ListenNet(), (1, 101, 64), "64 frequencies"), (Cnn14(), (1, 31, 64), "31 frames")],
)
def test_wrong_spectrogram_size_is_refused(net, x, words):
    with pytest.raises(ValueError, match=words):
        shapes(net, x)
