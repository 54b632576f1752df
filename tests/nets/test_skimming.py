"""The net that skims long videos, against arrays of the authors' program."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from avjax.nets.image.resnet import ResNet2D
from avjax.nets.joint import skimming
from avjax.nets.joint.skimming import Skimming
from avjax.nets.layers import interpolation
from avjax.nets.layers.batch_norm import BatchNorm
from avjax.nets.layers.masked_batch_norm import MaskedBatchNorm
from avjax.nets.layers.mlp import Linear
from avjax.weights import names_video
from tests.nets.reference_weights import close, drawn_by_name, loaded

SMALL = dict(hidden=16, key_width=8, steps=4)
PUBLISHED = dict(
    start="mean_without_clip", padding_counts=True, interpolate=interpolation.half_pixel
)
VARIANTS = {
    "default": {},
    "noreplace_flag_off": dict(exclude_seen=False),
    "random_start": dict(start="clip"),
    "interp2": dict(every=2),
    "hard": dict(reading="hard_of_first"),
    "train": {},
}


@pytest.fixture(scope="module")
def arrays(golden):
    return golden("listen_to_look")


def both(ours, theirs, layout="linear"):
    return {f"params/{ours}/kernel": (f"{theirs}.weight", layout),
            f"params/{ours}/bias": (f"{theirs}.bias", "same")}  # fmt: skip


def norm(ours, theirs):
    kinds = dict(scale="weight", bias="bias", mean="running_mean", var="running_var")
    groups = dict(scale="params", bias="params", mean="batch_stats", var="batch_stats")
    return {f"{groups[k]}/{ours}/{k}": (f"{theirs}.{v}", "same") for k, v in kinds.items()}


def names():
    """{our path: (their name, layout)}, also of the two classifiers, which are the method's."""
    out = both("classifier", "net_classifier.classifier") | both("last", "prediction_fc")
    for i in (1, 2):
        out |= both(f"net/step/fusion/linear{i}", f"net_imageAudio.imageAudio_fc{i}")
    for name in ("image", "audio"):
        theirs = f"{name}_queryfeature_mlp"
        out |= both(f"net/step/query_{name}/linear1", f"{theirs}.0")
        out |= norm(f"net/step/query_{name}/norm", f"{theirs}.1")
        out |= both(f"net/step/query_{name}/linear2", f"{theirs}.3")
        out |= both(f"net/key_{name}/linear", f"{name}_key_conv1x1.0", "conv1x1")
        out |= norm(f"net/key_{name}/norm", f"{name}_key_conv1x1.1")
    for ours, theirs in (("input", "ih"), ("hidden", "hh")):
        for kind, part in (("direction", f"weight_{theirs}_v"), ("scale", f"weight_{theirs}_g"),
                           ("bias", f"bias_{theirs}")):  # fmt: skip
            layout = "linear" if kind == "direction" else "flat"
            out[f"params/net/step/cell/{ours}_{kind}"] = f"rnn.{part}", layout
    return out | both("net/step/modality", "modality_attention")


def weights(shapes):
    """The program's state in our variables: of the net, and kernels of the two classifiers."""
    state = drawn_by_name(shapes.items())
    for name, x in state.items():
        if name.endswith("_g"):
            state[name] = x[:, 0]
        elif name.endswith("conv1x1.0.weight"):
            state[name] = x[:, :, 0, 0]
    layouts = {path: (name, "same" if kind == "flat" else kind.replace("conv1x1", "linear"))
               for path, (name, kind) in names().items()}  # fmt: skip
    tree = loaded(layouts, state)
    net = {"params": tree["params"]["net"], "batch_stats": tree["batch_stats"]["net"]}
    return net, tree["params"]["classifier"], tree["params"]["last"]


def classify(learned, x):
    return Linear(learned["bias"].shape[0]).apply({"params": learned}, x, False)


def batch_of(arrays, group):
    valid = arrays[f"{group}/mask"] if f"{group}/mask" in arrays else np.ones((2, 12))
    return {
        "image_features": arrays[f"{group}/bank_i"].astype(np.float32),
        "audio_features": arrays[f"{group}/bank_a"].astype(np.float32),
        "valid_clips": valid > 0,
        "first_clip": (arrays[f"{group}/start_rand"] + valid).argmax(1),
    }


@pytest.fixture(scope="module")
def found(arrays):
    """{variant: (outputs, prediction, predictions of the steps)}, and gradients of training."""
    shapes = json.loads(str(arrays["skim/state_shapes_json"]))
    net, classifier, last = weights(shapes)
    nets = {k: Skimming(**(SMALL | PUBLISHED | how)) for k, how in VARIANTS.items()}

    def one(name, params, batch):
        variables = net | {"params": params}
        out, _ = nets[name].apply(variables, batch, name == "train", mutable="batch_stats")
        return out, classify(classifier, out["features"]), classify(last, out["hidden"])

    def loss(params, batch):
        logits = one("train", params, batch)[1]
        return optax.softmax_cross_entropy_with_integer_labels(logits, jnp.array([0, 3, 2])).mean()

    @jax.jit
    def every(batch):
        grads = jax.value_and_grad(loss)(net["params"], batch)
        return {name: one(name, net["params"], batch) for name in VARIANTS}, grads

    return every(batch_of(arrays, "skim"))


@pytest.mark.parametrize("name", VARIANTS)
def test_steps_equal_the_published_program(arrays, found, name):
    out, logits, steps = found[0][name]

    def same(ours, theirs, axes=(1, 0)):
        want = arrays[f"skim/{name}/{theirs}"]
        np.testing.assert_allclose(np.moveaxis(ours, *axes), want, rtol=1e-4, atol=1e-5)

    for m in ("image", "audio"):
        index = arrays[f"skim/{name}/{m}_idx"]
        np.testing.assert_array_equal(out[f"index/{m}"].T, index)
        if name != "hard":  # The array is of the soft reading.
            same(out[f"next/{m}"], f"next_{m}")
    same(out["hidden"], "h")
    same(out["cell"], "c")
    same(out["modality_weights"], "modality_attn")
    same(out["steps"], "selected", (1, 2))
    same(steps, "step_logits")
    same(logits, "pred", (0, 0))


def test_gradients_equal_the_published_program(arrays, found):
    loss, grads = found[1]
    np.testing.assert_allclose(loss, arrays["skim/train/loss"], rtol=1e-5)
    step = grads["step"]
    for ours, theirs in (
        (step["cell"]["input_direction"].T, "rnn.weight_ih_v"),
        (step["cell"]["hidden_scale"][:, None], "rnn.weight_hh_g"),
        (grads["key_image"]["linear"]["kernel"].T[..., None, None], "image_key_conv1x1.0.weight"),
        (step["modality"]["kernel"].T, "modality_attention.weight"),
        (step["fusion"]["linear1"]["kernel"].T, "net_imageAudio.imageAudio_fc1.weight"),
    ):
        close(ours, arrays[f"skim/train/grad/{theirs}"])
    assert all(x.any() for x in jax.tree.leaves(step["modality"]))


def test_full_size_equals_the_published_program(arrays):
    net = Skimming(**PUBLISHED)
    small = json.loads(str(arrays["skim/state_shapes_json"]))
    sizes = {5: 200, 8: 512, 16: 1024, 64: 4096, 1: 1, 2: 2}
    shapes = {name: [sizes[n] for n in shape] for name, shape in small.items()}
    variables, classifier, last = weights(shapes)
    learned = jax.tree.leaves((variables["params"], classifier, last))
    assert sum(x.size for x in learned) == arrays["full/n_params"]

    @jax.jit
    def both(variables, batch):
        out = net.apply(variables, batch, False)
        logits = classify(classifier, out["features"])
        fused = skimming.fusion(512).apply(
            {"params": variables["params"]["step"]["fusion"]}, z, False
        )
        return logits, classify(last, out["hidden"][:, -1]), fused

    z = np.concatenate([arrays["fuse/z_i"], arrays["fuse/z_a"]], 1)
    logits, at_end, fused = both(variables, batch_of(arrays, "full"))
    close(logits, arrays["full/pred"])
    close(at_end, arrays["full/step_logits_last"])
    state = drawn_by_name([(f"imageAudio_fc{i}.{kind}", shape) for i, kind, shape in (
        (1, "weight", (1024, 1024)), (1, "bias", (1024,)),
        (2, "weight", (512, 1024)), (2, "bias", (512,)))])  # fmt: skip
    layers = {f"linear{i}": {"kernel": state[f"imageAudio_fc{i}.weight"].T,
                             "bias": state[f"imageAudio_fc{i}.bias"]} for i in (1, 2)}  # fmt: skip
    close(jax.jit(skimming.fusion(512).apply)({"params": layers}, z, False), arrays["fuse/z"])


def test_image_net_equals_the_published_program(arrays):
    net = ResNet2D(18)
    layout = names_video.resnet(net)

    def theirs(name):
        layer, _, rest = name.partition(".")
        at = {"conv1": 0, "bn1": 1} | {f"layer{i}": i + 3 for i in (1, 2, 3, 4)}
        return f"feature_extraction.{at[layer]}.{rest}"

    x = np.moveaxis(arrays["enc/image"], 1, -1)
    tree = jax.eval_shape(lambda: net.init(jax.random.key(0), x, False))
    found = {k: v.shape for k, v in flatten_dict(tree, sep="/").items()}
    back = {4: (3, 2, 0, 1), 1: (0,)}
    shapes = {theirs(name): tuple(found[path][i] for i in back[len(found[path])])
              for path, (name, _) in layout.items()}  # fmt: skip
    state = drawn_by_name(shapes.items())
    variables = loaded({path: (theirs(name), kind) for path, (name, kind) in layout.items()}, state)
    features = jax.jit(lambda v, x: net.apply(v, x, False))(variables, x)
    close(features, arrays["enc/image_feat"])


def video(length, total, seed=0, width=8):
    """A batch of one video of `length` clips, padded with noise to `total`."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, 1, length, width)).astype(np.float32)
    noise = np.random.default_rng(seed + 99).normal(size=(2, 1, total - length, width))
    x = np.concatenate([x, noise.astype(np.float32)], 2)
    return {"image_features": x[0], "audio_features": x[1],
            "valid_clips": np.arange(total)[None] < length}  # fmt: skip


def joined(*batches):
    return {k: np.concatenate([b[k] for b in batches]) for k in batches[0]}


@pytest.fixture(scope="module")
def small():
    """(variables of a net, {how: (batch, train) -> (outputs, statistics)}), compiled once."""
    how = dict(soft={}, hard=dict(reading="hard"), sparse=dict(every=3))
    how["audio"] = dict(modalities=("audio",))
    nets = {name: Skimming(**(SMALL | kind)) for name, kind in how.items()}
    key = jax.random.key(0, impl="rbg")
    two = joined(video(7, 9), video(3, 9, seed=1))
    init = lambda name: nets[name].init(key, two, False)  # noqa: E731
    variables = jax.jit(lambda: {name: init(name) for name in ("soft", "audio")})()
    variables |= {name: variables["soft"] for name in ("hard", "sparse")}

    def apply(name, batch, train=False):
        net = nets[name]
        run = jax.jit(lambda v, b: net.apply(v, b, train, mutable="batch_stats"))
        return jax.device_get(run(variables[name], batch))

    return apply


def test_padding_changes_nothing(small):
    """Neither its values nor its amount, of sparse descriptors too, in training as well."""
    parts = [joined(video(7, n), video(3, n, seed=1)) for n in (9, 7)]
    (first, stats), (other, again) = (small("sparse", part, True) for part in parts)
    for key, value in first.items():
        value = value[..., :7] if key.startswith("attention") else value
        np.testing.assert_allclose(value, other[key], rtol=1e-4, atol=1e-6, err_msg=key)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), stats, again)


def test_no_clip_is_selected_twice_until_all_were(small):
    out = small("soft", joined(video(7, 9), video(3, 9, seed=1)))[0]
    for name in ("image", "audio"):
        index = out[f"index/{name}"]
        assert len(set(index[0])) == 4 and set(index[1]) == {0, 1, 2} == set(index[1, :3])
        weight = out[f"attention/{name}"]
        np.testing.assert_allclose(weight.sum(2), 1, rtol=1e-5)
        assert (weight[0, :, 7:] == 0).all() and (weight[1, :, 3:] == 0).all()
    np.testing.assert_allclose(out["modality_weights"].sum(2), 1, rtol=1e-5)


def test_hard_reading_is_the_descriptor_of_the_selected_clip(small):
    batch = video(7, 9)
    out = small("hard", batch)[0]
    for name in ("image", "audio"):
        want = batch[f"{name}_features"][0][out[f"index/{name}"][0]]
        np.testing.assert_array_equal(out[f"next/{name}"][0], want)
    assert (out["index/image"] != out["index/audio"]).any()


def test_one_modality_alone(small):
    """The mean of what is read; the batch need not have the other."""
    batch, name = video(7, 9), "audio"
    out = small(name, {k: batch[k] for k in (f"{name}_features", "valid_clips")})[0]
    weight, bank = out[f"attention/{name}"][0], batch[f"{name}_features"][0]
    np.testing.assert_allclose(out["features"][0], (weight @ bank).mean(0), rtol=1e-4, atol=1e-5)
    assert not any("fusion" in key for key in out) and (out["modality_weights"] == 1).all()


def test_interpolation_keeps_the_clips_and_is_linear_between_them():
    x = np.arange(10.0, dtype=np.float32)[None, :, None] ** 2
    valid = np.arange(10)[None] < 9
    y = interpolation.between_clips(x, valid, 4)[0, :, 0]
    np.testing.assert_allclose(y[:9], np.interp(np.arange(9), [0, 4, 8], [0, 16, 64]), rtol=1e-6)
    assert y[9] == 0
    last = interpolation.between_clips(x, np.arange(10)[None] < 7, 4)[0, :, 0]
    np.testing.assert_allclose(last, [0, 4, 8, 12, 16, 16, 16, 0, 0, 0], rtol=1e-6)


def test_masked_batch_norm_is_batch_norm_where_all_counts():
    x = np.random.default_rng(0).normal(2, 3, size=(4, 5, 6)).astype(np.float32)
    plain, masked = BatchNorm(), MaskedBatchNorm()
    variables = plain.init(jax.random.key(0), x, False)
    want = plain.apply(variables, x, True, mutable="batch_stats")
    found = masked.apply(variables, x, np.ones((4, 5), bool), True, mutable="batch_stats")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, want)
    none = masked.apply(variables, x, np.zeros((4, 5), bool), True, mutable="batch_stats")[1]
    jax.tree.map(np.testing.assert_array_equal, none["batch_stats"], variables["batch_stats"])


@pytest.mark.parametrize("how, message", [
    (dict(steps=0), "steps=0"), (dict(start="none"), "start='none': use one of mean, clip"),
    (dict(reading="any"), "reading='any'"), (dict(modalities=("audio", "image")), "modalities="),
    (dict(start="clip"), "skimming reads 'first_clip', and the batch has"),
])  # fmt: skip
def test_mistakes_are_refused(how, message):
    net = Skimming(**(SMALL | how))
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: net.init(jax.random.key(0), video(3, 4), False))
