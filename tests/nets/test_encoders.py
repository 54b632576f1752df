"""Video and image nets against numbers of their references, which share weights but no code.

The weights are drawn again from a seed, not stored: `golden/encoders.npz` holds what the
references computed with them in evaluation mode, in float32.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from avjax.nets.audio import avid_convnet
from avjax.nets.flops import gmacs
from avjax.nets.image import resnet
from avjax.nets.joint import l3
from avjax.nets.layers import conv, mlp
from avjax.nets.layers.batch_norm import BatchNorm, batch_norm
from avjax.nets.video import avid_r2plus1d, ccl_student, i3d, resnet3d, vgg_mc3
from avjax.weights.names_video import torch_names
from tests.nets.reference_weights import (
    checked,
    close,
    drawn,
    drawn_by_name,
    loaded,
    normal,
    shapes,
    stored,
)

CLIP, PLAIN = (2, 3, 8, 56, 56), (2, 3, 8, 48, 48)
STAGES = {f"conv{s}x_1": f"layer{s - 1}_mean_thw" for s in (2, 3, 4, 5)}
SMALL = {f"conv{s}x_0": f"conv{s}x_mean" for s in (2, 3, 4, 5)}
VGG = {f"conv{s}x": f"conv{s}x_mean" for s in (2, 3, 4, 5)}
SOUND = {f"block{n}": f"block{n}_mean" for n in (1, 2, 3, 4)}
MIXED = {m: m.replace("mixed", "Mixed_") + "_mean_thw" for m in i3d.MIXED}
# Net, seeds of weights and input, shape of the input, {our module: their array}.
GOLDENS = {
    "tv_r2plus1d_18": (resnet3d.torchvision_r2plus1d(), 201, 202, CLIP, STAGES),
    "xdc_r2plus1d_18": (resnet3d.r2plus1d(), 201, 202, CLIP, STAGES),
    "mc2_18": (resnet3d.mc2(), 201, 202, CLIP, STAGES),
    "mc3_18": (resnet3d.mc3(), 201, 202, CLIP, STAGES),
    "r3d_18": (resnet3d.r3d(), 201, 202, CLIP, STAGES),
    "i3d": (i3d.I3D(), 211, 212, (1, 3, 16, 64, 64), MIXED),
    "avid_r2p1d_small10": (avid_r2plus1d.R2Plus1D(10, False), 231, 234, PLAIN, SMALL),
    "avid_conv2d_small10": (
        avid_convnet.AudioConvNet(small=True),
        232,
        235,
        (2, 1, 100, 129),
        SOUND,
    ),
    "avid_dev_vggish_mc3": (vgg_mc3.VGGMC3(), 233, 236, PLAIN, VGG),
}
CLASSIFIERS = r"fc\..*|linear\..*|logits\..*"


@pytest.fixture(scope="module")
def arrays(golden):
    return golden("encoders")


def reference(arrays, net):
    """[(name, shape)] of the arrays of a reference."""
    return stored(arrays[f"{net}/keys"], arrays[f"{net}/shapes"])


def whole(names, state):
    """Our variables of their state; all of it is used but the classifier."""
    taken = {theirs for theirs, _ in names.values()}
    assert len(taken) == len(names)
    assert all(re.fullmatch(CLASSIFIERS, name) for name in state.keys() - taken)
    return loaded(names, state)


def parameters(net, shape):
    return sum(int(np.prod(s)) for p, s in shapes(net, shape).items() if p.startswith("params"))


def fresh(net, *args):
    """Variables of a new net, drawn by NumPy: `init` takes XLA many times as long to compile."""
    tree = jax.eval_shape(lambda: net.init(jax.random.key(0), *args, False))
    rs, flat = np.random.RandomState(0), {}
    for path, leaf in flatten_dict(tree).items():
        if path[-1] == "kernel":
            value = rs.standard_normal(leaf.shape) * np.prod(leaf.shape[:-1]) ** -0.5
        else:
            value = np.full(leaf.shape, float(path[-1] in ("scale", "var")))
        flat[path] = value.astype(np.float32)
    return unflatten_dict(flat)


def run(net, variables, x, modules=()):
    """(features, {module: its output's mean over times and places})."""

    def apply(variables, x):
        out, aside = net.apply(
            variables, x, False, capture_intermediates=lambda m, _: m.name in modules
        )
        aside = aside.get("intermediates", {})
        means = {m: aside[m]["__call__"][0] for m in modules}
        return out, {m: y.mean(tuple(range(1, y.ndim - 1))) for m, y in means.items()}

    return jax.jit(apply)(variables, x)


@pytest.mark.parametrize("name", GOLDENS)
def test_each_net_matches_its_reference(arrays, name):
    net, seed, given, shape, modules = GOLDENS[name]
    state = drawn(reference(arrays, name), seed)
    state = checked(state, arrays[f"{name}/keys"], arrays[f"{name}/sums"])
    variables = whole(torch_names(net), state)
    x = np.moveaxis(normal(given, *shape), 1, -1)
    pooled, means = run(net, variables, x, tuple(modules))
    for module, theirs in modules.items():
        close(means[module], arrays[f"{name}/{theirs}"])
    for theirs in {f"{name}/pool", f"{name}/pool_mean"} & arrays.keys():
        close(pooled, arrays[theirs])


def test_ccl_student_matches_its_reference(arrays):
    variables = whole(
        torch_names(ccl_student.Student()), drawn_by_name(reference(arrays, "ccl_r21d"))
    )
    x = np.moveaxis(normal(26, 2, 3, 8, 32, 32), 1, -1)
    close(run(ccl_student.Student(), variables, x)[0], arrays["ccl_r21d/feat_eval"])


@pytest.mark.slow
def test_ccl_student_matches_its_reference_in_training(arrays, golden):
    """On the statistics of the batch, which move the running ones."""
    net, g = ccl_student.Student(), golden("distillation")
    variables = whole(torch_names(net), drawn_by_name(reference(arrays, "ccl_r21d")))
    x = np.moveaxis(normal(26, 2, 3, 8, 32, 32), 1, -1)
    out, new = jax.jit(lambda v: net.apply(v, x, True, mutable="batch_stats"))(variables)
    close(out, g["ccl_r21d/feat_train"])
    for name in ("mean", "var"):
        close(new["batch_stats"]["norm1"][name], g[f"ccl_r21d/conv1_bn_running_{name}_after"])


def test_resnet_18_matches_torchvision(arrays):
    """Listen to Look's picture net is one without its classifier, in a Sequential."""
    parts = {"conv1": "0", "bn1": "1", **{f"layer{n}": str(n + 3) for n in (1, 2, 3, 4)}}
    names = {}
    for path, (theirs, layout) in torch_names(resnet.ResNet2D()).items():
        first, rest = theirs.split(".", 1)
        names[path] = f"feature_extraction.{parts[first]}.{rest}", layout
    variables = whole(names, drawn_by_name(reference(arrays, "l2l_enc")))
    x = np.moveaxis(normal(30, 2, 3, 64, 64), 1, -1)
    close(run(resnet.ResNet2D(), variables, x)[0], arrays["l2l_enc/image_feat"])


CLIPS, PICTURES = (1, 8, 112, 112, 3), (1, 224, 224, 3)


@pytest.mark.parametrize(
    "net, shape, count, classes",
    [
        (resnet3d.torchvision_r2plus1d(), CLIPS, 31_505_325, 400),
        (resnet3d.r2plus1d(), CLIPS, 33_370_839, 400),
        (resnet3d.mc2(), CLIPS, 11_400_528, 400),
        (resnet3d.mc3(), CLIPS, 11_695_440, 400),
        (resnet3d.r3d(), CLIPS, 33_371_472, 400),
        (ccl_student.Student(), CLIPS, 14_391_466, 51),
        (ccl_student.Student(34), CLIPS, 63_530_922, 51),
        (i3d.I3D(), CLIPS, 12_697_264, 400),
        (vgg_mc3.VGGMC3(), CLIPS, 4_898_240, None),
        (resnet.ResNet2D(18), PICTURES, 11_689_512, 1000),
        (resnet.ResNet2D(34), PICTURES, 21_797_672, 1000),
        (resnet.ResNet2D(50), PICTURES, 25_557_032, 1000),
        (resnet.ResNet2D(152), PICTURES, 60_192_808, 1000),
        # Kernels, biases and normalizations of eight layers.
        (l3.VisionNet(), PICTURES, 9 * (3 * 64 + 64 * 64 * (1 + 2 + 4 + 8 + 16 + 32 + 64))
         + 3 * 2 * (64 + 128 + 256 + 512), None),
    ],
)  # fmt: skip
def test_parameter_counts_match_references(net, shape, count, classes):
    out = jax.eval_shape(lambda: net.init_with_output(jax.random.key(0), jnp.zeros(shape), False))
    head = 0 if classes is None else (out[0].shape[-1] + 1) * classes
    assert parameters(net, shape) + head == count


@pytest.mark.parametrize(
    "net, shape, expected",
    [
        (resnet3d.torchvision_r2plus1d(), (1, 8, 112, 112, 3), 20.26),
        (resnet3d.torchvision_r2plus1d(), (1, 32, 224, 224, 3), 324.2),
        (resnet3d.r3d(), (1, 16, 112, 112, 3), 40.70),
        (resnet3d.mc3(), (1, 16, 112, 112, 3), 43.34),
        (avid_r2plus1d.R2Plus1D(), (1, 8, 112, 112, 3), 3.08),
        (avid_r2plus1d.R2Plus1D(), (1, 8, 224, 224, 3), 12.13),
        (avid_convnet.AudioConvNet(), (1, 200, 257), 1.44),
        (resnet.ResNet2D(50), PICTURES, 4.09),
        (mlp.Mlp((512, 512, 128)), (1, 512), (2 * 512 * 512 + 512 * 128) / 1e9),
    ],
)
def test_gmacs_match_published_values(net, shape, expected):
    assert abs(gmacs(net, shape) / expected - 1) < 2e-3


def test_loop_flops_are_multiplied_by_iterations():
    class Looped:
        init = staticmethod(lambda key, x, train: {})

        @staticmethod
        def apply(variables, x, train):
            return jax.lax.scan(lambda x, _: (x @ x, None), x, None, length=7)[0]

    assert gmacs(Looped, (10, 10)) == 7 * 10**3 / 1e9


@pytest.mark.parametrize(
    "net, shape",
    [
        (resnet3d.r2plus1d(34), CLIPS),
        (resnet3d.torchvision_r2plus1d(34), CLIPS),
        (ccl_student.Student(34), CLIPS),
        (resnet.ResNet2D(10), (1, 200, 257)),
        (resnet.ResNet2D(152), PICTURES),
        (mlp.Mlp((512, 512, 128)), (1, 512)),
        (avid_r2plus1d.R2Plus1D(34), CLIPS),
    ],
)
def test_every_array_has_a_unique_name(net, shape):
    names = torch_names(net)
    assert names.keys() == shapes(net, shape).keys()
    assert len({theirs for theirs, _ in names.values()}) == len(names)


def test_net_without_names_is_reported():
    with pytest.raises(ValueError, match="no PyTorch names are known for Vision"):
        torch_names(l3.VisionNet())


@pytest.mark.parametrize(
    "net, shape, width",
    [
        pytest.param(resnet3d.r2plus1d, (2, 4, 33, 33, 3), 64, marks=pytest.mark.slow),
        (resnet3d.mc3, (2, 4, 33, 33, 3), 64),
        pytest.param(ccl_student.Student, (2, 4, 33, 33, 3), 64, marks=pytest.mark.slow),
        pytest.param(i3d.I3D, (2, 9, 33, 33, 3), 128, marks=pytest.mark.slow),
        (l3.VisionNet, (2, 1, 33, 33, 3), 64),
        (l3.AudioNet, (2, 25, 65), 64),
        (lambda **how: resnet.ResNet2D(10, **how), (2, 25, 65), 64),
        (lambda **how: resnet.ResNet2D(50, **how), (2, 33, 33, 3), 256),
    ],
)
def test_bfloat16_approximates_float32(net, shape, width):
    """Of narrow nets, for odd sizes."""
    x = jnp.asarray(normal(3, *shape))
    nets = [net(width=8, dtype=dtype) for dtype in ("float32", "bfloat16")]
    high, low = jax.jit(lambda v: [net.apply(v, x, False) for net in nets])(fresh(nets[0], x))
    assert high.shape == (2, width) and low.dtype == jnp.bfloat16
    close(low.astype(jnp.float32), high, 0.06)


def convolved(x, w, stride):
    """[H, W, C] * [k, k, C, Cout] by the formula, with half of the kernel of zeros around."""
    k, p = len(w), len(w) // 2
    x = np.pad(x, ((p, p), (p, p), (0, 0)))
    places = [range(0, n - k + 1, stride) for n in x.shape[:2]]
    return np.array(
        [[np.tensordot(x[i : i + k, j : j + k], w, 3) for j in places[1]] for i in places[0]]
    )


def normalized(x):
    return x / np.sqrt(1 + 1e-5)


def test_bottleneck_matches_formula():
    """The stride is the 3x3 convolution's, and the shortcut's; sizes are odd."""
    x = normal(5, 1, 7, 5, 6)
    block = resnet.Bottleneck(4, 2, "float32", BatchNorm)
    variables = fresh(block, x)
    w = {n: np.asarray(m["kernel"]) for n, m in variables["params"].items() if "kernel" in m}
    y = np.maximum(normalized(convolved(x[0], w["conv1"], 1)), 0)
    y = np.maximum(normalized(convolved(y, w["conv2"], 2)), 0)
    y = normalized(convolved(y, w["conv3"], 1))
    y = np.maximum(y + normalized(convolved(x[0], w["shortcut"], 2)), 0)
    close(block.apply(variables, x, False)[0], y)


@pytest.mark.parametrize("early", [True, False])
def test_l3_second_vision_layer_applies_relu_first(early):
    """A negative scale tells the two orders apart: one of them ends in zeros."""
    net = (l3.VisionNet if early else l3.AudioNet)(width=4)
    x = normal(6, 2, 16, 16, 3)
    variables = fresh(net, x)
    norm = variables["params"]["layers"]["conv1_2_norm"]
    norm["scale"] = -jnp.ones_like(norm["scale"])
    seen = net.apply(variables, x, False, capture_intermediates=True)[1]["intermediates"]
    layers = seen["layers"]
    x = np.asarray(layers["conv1_2"]["__call__"][0])
    y = np.maximum(x, 0) if early else x
    close(layers["conv1_2_norm"]["__call__"][0], -y / np.sqrt(1 + 1e-3))


@pytest.mark.parametrize(
    "sizes, window, strides, pads",
    [
        ((112,), (7,), (2,), ((2, 3),)),
        ((33,), (3,), (2,), ((1, 1),)),
        ((8,), (2,), (2,), ((0, 0),)),
    ],
)
def test_same_padding_matches_tensorflow(sizes, window, strides, pads):
    assert conv.same_padding(sizes, window, strides) == pads


def test_i3d_first_and_last_times_have_half_weight():
    """Averages of pairs of times, averaged: of three times the middle one counts as two."""
    net = i3d.I3D(width=8)
    x = normal(7, 1, 24, 32, 32, 3)
    variables = fresh(net, x)

    @jax.jit
    def run(x):
        return net.apply(
            variables, x, False, capture_intermediates=lambda m, _: m.name == "mixed5c"
        )

    out, seen = run(x)
    last = np.asarray(seen["intermediates"]["mixed5c"]["__call__"][0]).mean((2, 3))
    close(out, np.average(last, 1, (1, 2, 1)))


def test_norms_match_the_sources():
    """Epsilon and momentum as here, where a running mean keeps `momentum` of itself."""
    assert (resnet3d.r2plus1d().norm().epsilon, resnet3d.mc3().norm().epsilon) == (1e-3, 1e-5)
    for net in (i3d.I3D(), l3.VisionNet(), l3.AudioNet()):
        assert (net.norm().epsilon, net.norm().momentum) == (1e-3, 0.99)
    assert batch_norm(2, epsilon=1e-3)().groups == 2


@pytest.mark.parametrize(
    "net",
    [resnet3d.mc3(50), ccl_student.Student(50), resnet.ResNet2D(20)],
    ids=lambda n: type(n).__name__,
)
def test_unknown_depth_is_refused(net):
    with pytest.raises(ValueError, match=f"depth={net.depth}"):
        shapes(net, (1, 8, 32, 32, 3))


def test_clip_of_several_frames_is_refused_by_image_net():
    with pytest.raises(ValueError, match="clips of 8 frames"):
        shapes(resnet.ResNet2D(), (1, 8, 32, 32, 3))
