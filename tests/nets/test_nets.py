"""AVID's nets against numbers of its reference, which shares their weights but no code.

The reference's weights are drawn again from a seed, not stored: the arrays beside this
file were computed with them, in evaluation mode in float32 and in training mode in
float64.  PyTorch holds a kernel as [Cout, Cin, ...] and a layer as [out, in].
"""

import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.nets.audio.avid_convnet import AudioConvNet
from avjax.nets.frontends.pixels import Normalize
from avjax.nets.layers.batch_norm import BatchNorm
from avjax.nets.layers.conv import Conv3D
from avjax.nets.layers.mlp import Linear, Mlp
from avjax.nets.video.avid_r2plus1d import R2Plus1D
from avjax.weights.names_video import torch_names
from tests.nets.reference_weights import checked, close, drawn, loaded, normal, stored, turned

# (our subtree, its net, the prefix of its arrays in a checkpoint)
PARTS = (
    ("video", R2Plus1D(), "video_model"),
    ("audio", AudioConvNet(), "audio_model"),
    ("video_head", Mlp((512, 512, 128)), "video_proj"),
    ("audio_head", Mlp((512, 512, 128)), "audio_proj"),
)
# {our path: (their name, layout)}, and {their name: (our path, layout)}.
NAMES = {
    path.replace("/", f"/{part}/", 1): (f"{prefix}.{theirs}", layout)
    for part, net, prefix in PARTS
    for path, (theirs, layout) in torch_names(net).items()
}
OURS = {theirs: (path, layout) for path, (theirs, layout) in NAMES.items()}
WEIGHTS = normal(16, 4, 128)  # The training loss is their product with both embeddings.
# A rectifier whose float32 input is rounded across zero passes a gradient that it blocks in
# float64, or the reverse: below many of them float32 is off by up to 2 %, in any program.
ROUNDED = (
    "audio_model.conv1.0.weight",
    "video_model.conv1.0.weight",
    "video_model.conv3x.0.res_conv.weight",
)


class Model(nn.Module):
    """Both encoders and heads of AVID, as a method would hold them."""

    dtype: str = "float32"

    def setup(self):
        self.video = R2Plus1D(dtype=self.dtype)
        self.audio = AudioConvNet(dtype=self.dtype)
        self.video_head = Mlp((512, 512, 128))
        self.audio_head = Mlp((512, 512, 128))

    def __call__(self, video, audio, train):
        v, a = self.video(video, train), self.audio(audio, train)
        return {"video_pool": v, "audio_pool": a, "video_emb_f64": self.video_head(v, train),
                "audio_emb_f64": self.audio_head(a, train)}  # fmt: skip


@pytest.fixture(scope="module")
def golden():
    return np.load(pathlib.Path(__file__).parents[1] / "golden" / "nets_avid.npz")


@pytest.fixture(scope="module")
def variables(golden):
    """The reference's weights in our tree, checked by their sums."""
    state = drawn(stored(golden["keys"], golden["shapes"]), 1234)
    assert state.keys() == OURS.keys()
    return loaded(NAMES, checked(state, golden["keys"], golden["sums"]))


@pytest.fixture(scope="module")
def evaluated(variables):
    video = np.moveaxis(normal(11, 2, 3, 8, 64, 64), 1, -1)
    audio = np.moveaxis(normal(12, 2, 1, 200, 257), 1, -1)

    @jax.jit
    def run(variables):
        return Model().apply(variables, video, audio, False, capture_intermediates=True)

    out, aside = run(variables)
    return out, aside["intermediates"]


def training(dtype):
    """(variables) -> (outputs, running statistics, gradients) of one training pass in `dtype`."""
    video = np.moveaxis(normal(17, 4, 3, 8, 64, 64), 1, -1).astype(dtype)
    audio = np.moveaxis(normal(18, 4, 1, 100, 129), 1, -1).astype(dtype)
    w = WEIGHTS.astype(dtype)

    def loss(params, stats):
        out, stats = Model(dtype).apply(
            {"params": params, "batch_stats": stats}, video, audio, True, mutable=["batch_stats"]
        )
        return (w * (out["video_emb_f64"] + out["audio_emb_f64"])).sum(), (out, stats)

    grad = jax.jit(jax.grad(loss, has_aux=True))

    def run(variables):
        of_dtype = jax.tree.map(lambda a: np.asarray(a, dtype), variables)
        with jax.enable_x64(dtype == "float64"):
            grads, (out, stats) = grad(of_dtype["params"], of_dtype["batch_stats"])
            return jax.tree.map(np.asarray, (out, stats["batch_stats"], grads))

    return run


@pytest.fixture(scope="module")
def single(variables):
    return training("float32")(variables)


@pytest.fixture(scope="module")
def double():
    return training("float64")


@pytest.fixture(scope="module")
def trained(double, variables):
    return double(variables)


def find(tree, path):
    for part in path.split("/"):
        tree = tree[part]
    return tree


@pytest.mark.parametrize("name", ["video_pool", "audio_pool", "video_emb_f64", "audio_emb_f64"])
def test_evaluation_matches_reference(golden, evaluated, name):
    close(evaluated[0][name], golden[f"eval/{name}"], 1e-4)


@pytest.mark.parametrize("stage", [2, 3, 4, 5])
def test_each_stage_matches_reference(golden, evaluated, stage):
    every = 16 if stage == 2 else 8
    video = evaluated[1]["video"][f"conv{stage}x_1"]["__call__"][0]
    close(np.moveaxis(video, -1, 1)[:, ::every], golden[f"eval/video_conv{stage}x"], 1e-4)
    audio = evaluated[1]["audio"][f"block{stage - 1}"]["__call__"][0]
    close(np.moveaxis(audio, -1, 1)[:1, ::16], golden[f"eval/audio_conv{stage}x"], 1e-4)


@pytest.mark.parametrize("name", ["video_emb_f64", "audio_emb_f64"])
def test_training_mode_matches_reference(golden, single, name):
    close(single[0][name], golden[f"train/{name}"], 1e-4)


@pytest.mark.slow  # Minutes: float64.
@pytest.mark.parametrize("name", ["video_emb_f64", "audio_emb_f64"])
def test_float64_training_mode_matches_reference(golden, trained, name):
    close(trained[0][name], golden[f"train/{name}"], 1e-9)


def gradients(golden, kind, grads):
    """{name: (the reference's gradient, ours at the same entries, ours)} by its names."""
    found, prefix = {}, f"train/{kind}/"
    for key in [key for key in golden if key.startswith(prefix)]:
        path, layout = OURS[key.removeprefix(prefix)]
        whole, theirs = find(grads, path.removeprefix("params/")), turned(golden[key], layout)
        every = whole.shape[-1] // theirs.shape[-1]
        found[key.removeprefix(prefix)] = theirs, whole[..., ::every], whole
    return found


def test_float32_gradients_match_reference_up_to_rounding(golden, single):
    for kind, count in (("grad_f64", 2), ("grad", 5)):
        found = gradients(golden, kind, single[2])
        assert len(found) == count
        for name, (theirs, ours, _) in found.items():
            assert ours.dtype == np.float32
            off = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
            assert off < (5e-2 if name in ROUNDED else 1e-3), name


@pytest.mark.slow
def test_float64_gradients_match_reference(golden, trained):
    """They have passed through all of a net."""
    found = gradients(golden, "grad_f64", trained[2])
    assert list(found) == ["video_model.conv1.0.weight", "audio_model.conv1.0.weight"]
    for theirs, ours, _ in found.values():
        close(ours, theirs, 1e-10)


@pytest.mark.slow
def test_reference_gradients_match_float64_away_from_relu_zeros(golden, trained):
    found = gradients(golden, "grad", trained[2])
    assert len(found) == 5
    for theirs, ours, _ in (found[name] for name in found.keys() - set(ROUNDED)):
        close(ours, theirs, 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["video_model.conv3x.0.res_conv.weight", "video_model.conv5x.1.out_bn.weight"]
)
def test_finite_differences_confirm_gradients_that_differ_from_reference(
    golden, double, trained, variables, name
):
    """The slope of the loss along the difference of both; elsewhere they are the same."""
    theirs, ours, whole = gradients(golden, "grad", trained[2])[name]
    apart, step = np.linalg.norm(theirs - ours), 1e-7
    direction = np.zeros_like(whole)
    direction[..., :: whole.shape[-1] // ours.shape[-1]] = (theirs - ours) / apart
    losses = []
    for sign in (1, -1):
        moved = jax.tree.map(lambda a: np.array(a, np.float64), variables)
        leaf = find(moved, OURS[name][0])
        leaf += sign * step * direction
        losses.append((WEIGHTS * double(moved)[0]["video_emb_f64"]).sum())
    slope = (losses[0] - losses[1]) / (2 * step)
    assert abs(slope - (direction * whole).sum()) < 0.05 * apart


@pytest.mark.slow
def test_float32_gradients_match_float64_up_to_rounding(golden, single, trained):
    for kind in ("grad_f64", "grad"):
        found, exact = (gradients(golden, kind, grads) for grads in (single[2], trained[2]))
        for name, (*_, ours) in found.items():
            off = np.linalg.norm(ours - exact[name][-1]) / np.linalg.norm(exact[name][-1])
            assert off < (2e-2 if name in ROUNDED else 1e-4), name


def test_running_statistics_match_reference(golden, single):
    """The variance that is kept is unbiased, the one that normalizes is not."""
    names = [name for name in golden if name.startswith("train/buf/")]
    assert len(names) == 5
    for name in names:
        path, _ = OURS[name.removeprefix("train/buf/")]
        close(find(single[1], path.removeprefix("batch_stats/")), golden[name], 1e-5)


@pytest.mark.parametrize(
    "net, shape, count",
    [
        (R2Plus1D(), (1, 8, 64, 64, 3), 15_379_136),
        (R2Plus1D(depth=10, stem_pool=False), (1, 8, 64, 64, 3), 7_015_616),
        (AudioConvNet(), (1, 100, 129), 4_725_696),
        (AudioConvNet(small=True), (1, 100, 129, 1), 4_725_696),
        (Mlp((512, 512, 128)), (1, 512), 590_976),
        (Linear(128), (1, 512), 512 * 128 + 128),
    ],
)
def test_parameter_counts_match_papers(net, shape, count):
    tree = jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.zeros(shape), False))
    assert sum(leaf.size for leaf in jax.tree.leaves(tree["params"])) == count


@pytest.mark.parametrize("net", [R2Plus1D(depth=50), AudioConvNet(depth=18)])
def test_unknown_depth_is_refused(net):
    with pytest.raises(ValueError, match=f"depth={net.depth}"):
        jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.zeros((1, 8, 32, 32, 3)), False))


def test_bfloat16_approximates_float32():
    x = jnp.asarray(normal(3, 2, 100, 65))
    nets = [AudioConvNet(width=4, dtype=dtype) for dtype in ("float32", "bfloat16")]
    variables = jax.jit(nets[0].init, static_argnums=2)(jax.random.key(0), x, False)
    high, low = jax.jit(lambda v: [net.apply(v, x, False) for net in nets])(variables)
    close(low.astype(jnp.float32), high, 0.05)


@pytest.mark.parametrize(
    "net, shape",
    [
        (R2Plus1D(10, dtype="bfloat16"), (2, 8, 32, 32, 3)),
        (AudioConvNet(dtype="bfloat16"), (2, 100, 65)),
    ],
)
def test_bfloat16_is_for_activations_only(net, shape):
    """The dtype of a config is a string; parameters, statistics, gradients stay float32."""

    def run(x):
        variables = net.init(jax.random.key(0), x, False)

        def loss(params):
            out, stats = net.apply({**variables, "params": params}, x, True, mutable=True)
            return out.astype(jnp.float32).sum(), (out, stats)

        return jax.grad(loss, has_aux=True)(variables["params"])

    grads, (out, stats) = jax.eval_shape(run, jax.ShapeDtypeStruct(shape, jnp.float32))
    assert out.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves((stats, grads))} == {jnp.dtype("float32")}


def normalized(x, groups=1, train=True):
    """(outputs, running statistics) of a new BatchNorm on `x` [B, ..., C]."""
    norm = BatchNorm(groups)
    variables = norm.init(jax.random.key(0), x, False)
    return norm.apply(variables, x, train, mutable=["batch_stats"])


def test_groups_normalize_each_part_of_the_batch():
    x = jnp.asarray(normal(0, 6, 5, 4) + 3 * np.arange(6)[:, None, None])
    whole, stats = normalized(x, 3)
    parts = [normalized(part) for part in jnp.split(x, 3)]
    np.testing.assert_allclose(whole, np.concatenate([y for y, _ in parts]), atol=1e-5)
    for name in ("mean", "var"):
        each = [part["batch_stats"][name] for _, part in parts]
        np.testing.assert_allclose(stats["batch_stats"][name], np.mean(each, 0), rtol=1e-5)


def test_batch_not_divisible_by_groups_is_refused():
    with pytest.raises(ValueError, match="batch of 5 is not a multiple of groups=2"):
        normalized(jnp.ones((5, 3)), 2)


def test_a_small_variance_survives_a_large_mean():
    """E[x^2] - E[x]^2 in float32 would be off by all of the variance here."""
    x = normal(0, 4096, 2)
    out, _ = normalized(jnp.asarray(x + 3000.0))
    np.testing.assert_allclose(out, (x - x.mean(0)) / x.std(0), atol=2e-3)


@pytest.mark.parametrize("groups", [1, 2])
def test_batch_norm_gradient_equals_autodiff(groups):
    """The written one, of inputs, scale and bias, against that of the formula."""
    x, weights = normal(1, 8, 3, 5).astype(np.float64), normal(2, 8, 3, 5).astype(np.float64)
    scale, bias = np.linspace(0.5, 2, 5), np.linspace(-1, 1, 5)

    def formula(x, scale, bias):
        x = x.reshape(groups, -1, 5)
        x = (x - x.mean(1, keepdims=True)) / jnp.sqrt(x.var(1, keepdims=True) + 1e-5)
        return (x * scale[None, None] + bias[None, None]).reshape(weights.shape)

    def ours(x, scale, bias):
        variables = {
            "params": {"scale": scale, "bias": bias},
            "batch_stats": {"mean": np.zeros(5), "var": np.ones(5)},
        }
        return BatchNorm(groups).apply(variables, x, True, mutable=["batch_stats"])[0]

    with jax.enable_x64(True):
        grads = [
            jax.jit(jax.grad(lambda *args, f=f: (weights * f(*args)).sum(), (0, 1, 2)))
            for f in (ours, formula)
        ]
        for mine, theirs in zip(*(grad(x, scale, bias) for grad in grads)):
            close(mine, theirs, 1e-12)


def test_pixels_are_normalized_by_imagenet_statistics():
    pixels = np.arange(2 * 3 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 3, 4, 5, 3)
    out = Normalize().apply({}, jnp.asarray(pixels), False)
    expected = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(out, expected, atol=1e-5)
    assert Normalize(dtype="bfloat16").apply({}, jnp.asarray(pixels), False).dtype == jnp.bfloat16


def test_initial_values_are_within_pytorch_bounds():
    """+-1/sqrt(fan in), uniformly, for convolutions and for both parts of a layer."""
    params = Linear(64).init(jax.random.key(0), jnp.zeros((1, 100)), False)["params"]
    conv = Conv3D(64, (1, 3, 3)).init(jax.random.key(0), jnp.zeros((1, 1, 4, 4, 16)))
    kernel = conv["params"]["kernel"]
    for a, fan in ((params["kernel"], 100), (params["bias"], 100), (kernel, 9 * 16)):
        assert 0.9 < np.abs(a).max() * fan**0.5 <= 1
        assert abs(a.std() * (3 * fan) ** 0.5 - 1) < 0.15
