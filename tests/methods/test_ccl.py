"""CCL: its step against the published program, one device against four, and a whole run."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from avjax.losses.class_nce import symmetric_nce
from avjax.methods import ccl
from avjax.nets import teachers
from avjax.nets.joint.composition import Composition
from avjax.nets.layers.mlp import Linear, Mlp
from avjax.nets.teachers import Teacher
from avjax.nets.towers import Towers, identity
from avjax.runtime import sharding
from tests.nets.reference_weights import drawn_by_name

MODES = {"a": ("audio",), "i": ("image",), "ai": ("audio", "image")}
TEMPERATURES = dict(audio=0.5, image=0.1)
COMPOSITION = {"mlp": "residual", "fc": "classifier"}


class Same(nn.Module):
    def __call__(self, x, train: bool):
        return x


class Encoder(nn.Module):
    """The program's toy student: a layer of all pixels, and ReLU."""

    @nn.compact
    def __call__(self, x, train: bool):
        return nn.relu(Linear(16, name="enc")(x.reshape(len(x), -1), train))


def towers():
    return Towers({"video": Same()}, {"video": Encoder()}, {"video": Mlp(())}, normalize=identity)


def layer(name, shape):
    """A layer of the program: its weights are drawn from their names."""
    weights = drawn_by_name([(f"{name}.weight", shape), (f"{name}.bias", shape[:1])])
    return {"kernel": weights[f"{name}.weight"].T, "bias": weights[f"{name}.bias"]}


def composition():
    shapes = {"mlp": (16, 32), "fc": (5, 16)}
    return {ours: layer(theirs, shapes[theirs]) for theirs, ours in COMPOSITION.items()}


def picture_teacher(frame):
    """The program's: the student's layer on one frame of the clips [B, 3, T, 2, 2]."""
    weights = layer("enc", (16, 12))

    def apply(state, batch, rng):
        x = batch["video"][:, :, frame].reshape(-1, 12)
        x = jax.nn.relu(x @ weights["kernel"] + weights["bias"][None])
        return {"features": x, "valid": jnp.ones(len(x), bool)}

    return Teacher(lambda rng, batch: (), apply, needs_audio=False)


def made(g, mode, **how):
    """(method, params, state, batch) of the program's step."""
    every = {"audio": teachers.column("audio"), "image": picture_teacher(1)}
    chosen = {name: every[name] for name in MODES[mode]}
    temperatures = {name: TEMPERATURES[name] for name in chosen}
    method = ccl.make(towers(), chosen, 5, temperatures, **how)
    batch = {
        "video": g["ccl_step/clip"],
        "audio": g["ccl_step/audio"],
        "label": g["ccl_step/labels"],
    }
    batch |= {"index": np.arange(8)}
    params, state = jax.eval_shape(lambda: method.init(jax.random.key(0), batch, 8))
    assert not jax.tree.leaves(state)
    weights = {
        "encoders_video": {"enc": layer("enc", (16, 48))},
        "classifier": layer("cls", (5, 16)),
        "compositions": {name: composition() for name in chosen},
    }
    assert jax.tree.structure(weights) == jax.tree.structure(params)
    return method, jax.tree.map(jnp.asarray, weights), state, jax.tree.map(jnp.asarray, batch)


def arrays_of(tree, chosen):
    """{name in the program: array} of our parameters."""
    parts = {"video/{}/enc": tree["encoders_video"]["enc"], "video/{}/cls": tree["classifier"]}
    for name in chosen:
        for theirs, ours in COMPOSITION.items():
            parts[f"comp_{name[0]}/{{}}/{theirs}"] = tree["compositions"][name][ours]
    return {
        f"{name}.{kind}": np.asarray(part[ours].T)
        for name, part in parts.items()
        for kind, ours in (("weight", "kernel"), ("bias", "bias"))
    }


@pytest.mark.parametrize("mode", MODES)
def test_step_matches_the_published_program(golden, mode):
    """Record 5 has no sound.  Losses, gradients of all parts, and the parameters after SGD."""
    g = golden("distillation")
    assert mode == "a" or g[f"ccl_step/{mode}/frame"] == 1
    method, params, state, batch = made(g, mode)
    tx = optax.chain(optax.add_decayed_weights(5e-4), optax.sgd(1e-3, momentum=0.9))

    @jax.jit
    def step(params):
        grad = jax.value_and_grad(method.loss, has_aux=True)
        (_, (_, metrics)), grads = grad(params, state, batch, jax.random.key(0))
        updates, _ = tx.update(grads, tx.init(params), params)
        return metrics, grads, optax.apply_updates(params, updates)

    metrics, *found = step(params)
    printed = str(g[f"ccl_step/{mode}/stdout"])
    kinds = {"ct": "nce", "jsd": "symmetric_kl"}
    wanted = {f"Loss_{k}_{m[0]}": f"loss/{kinds[k]}/{m}" for k in kinds for m in MODES[mode]}
    for theirs, ours in (wanted | {"Loss_cls": "loss/cross_entropy", "Acc": "accuracy"}).items():
        value = float(printed.split(f"{theirs} ")[1].split()[0])
        np.testing.assert_allclose(metrics[ours], value, atol=6e-4)
    for kind, tree in zip(("grad", "after"), found):
        arrays = arrays_of(tree, MODES[mode])
        assert len(arrays) == sum(f"ccl_step/{mode}/" in k and f"/{kind}/" in k for k in g)
        for name, ours in arrays.items():
            theirs = g[f"ccl_step/{mode}/{name.format(kind)}"]
            tolerance = 1e-5 * np.abs(theirs).max()
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance, err_msg=name)


def test_one_device_and_four_agree(golden):
    method, params, state, batch = made(golden("distillation"), "ai")
    found = []
    for count in (1, 4):
        mesh = sharding.mesh(jax.devices()[:count])
        with jax.set_mesh(mesh):
            here = sharding.shard_batch(jax.device_get(batch), mesh)
            weights = jax.device_put((params, state), sharding.replicated(mesh))
            grad = jax.jit(jax.value_and_grad(method.loss, has_aux=True))
            found.append(jax.device_get(grad(*weights, here, jax.random.key(3))))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *found)


def test_lambda_is_the_share_of_the_teacher(golden):
    """With all on the teacher, the student's NCE is that with the teacher alone."""
    g = golden("distillation")
    method, params, state, batch = made(g, "a", teacher_share=1.0, scale=3.0)
    features = jax.nn.relu(batch["video"].reshape(8, -1) @ layer("enc", (16, 48))["kernel"]
                           + layer("enc", (16, 48))["bias"][None])  # fmt: skip

    @jax.jit
    def both(params):
        valid = batch["audio"].any(1)
        want = symmetric_nce(features, batch["audio"], batch["label"], 0.5, valid)
        return method.loss(params, state, batch, jax.random.key(0))[1][1], want

    metrics, want = both(params)
    np.testing.assert_allclose(metrics["loss/nce/audio"], 3 * want, rtol=1e-5)


def test_batch_without_sound_or_of_one_class_is_finite(golden):
    method, params, state, batch = made(golden("distillation"), "a")
    step = jax.jit(jax.value_and_grad(method.loss, has_aux=True))
    silent = batch | {"audio": jnp.zeros_like(batch["audio"])}
    (loss, (_, metrics)), grads = step(params, state, silent, jax.random.key(0))
    np.testing.assert_allclose(loss, metrics["loss/cross_entropy"])
    assert not any(x.any() for x in jax.tree.leaves(grads["compositions"]))
    (loss, _), grads = step(params, state, batch | {"label": 0 * batch["label"]}, jax.random.key(0))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((loss, grads)))


@pytest.mark.parametrize("normalize", [True, False])
def test_composition_matches_the_published_program(golden, normalize):
    g = golden("distillation")
    net = Composition(5) if normalize else Composition(5, normalize=identity)
    out = net.apply({"params": composition()}, g["ccl_nce/f1"], g["ccl_nce/f2"], False)
    for ours, theirs in (("features", "feature"), ("logits", "logits")):
        want = g[f"ccl_comp/norm{int(normalize)}/{theirs}"]
        np.testing.assert_allclose(out[ours], want, rtol=1e-4, atol=1e-5)


def test_full_composition_matches_the_published_program(golden):
    g = golden("distillation")
    weights = {"residual": layer("mlp", (512, 1024)), "classifier": layer("fc", (51, 512))}
    out = Composition(51).apply(
        {"params": weights}, g["ccl_comp/full/f_a"], g["ccl_comp/full/f_v"], False
    )
    for ours, theirs in (("features", "feature"), ("logits", "logits")):
        want = g[f"ccl_comp/full/{theirs}"]
        np.testing.assert_allclose(out[ours], want, rtol=0, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize("wrong, message", [
    (dict(teachers={}), "give at least one teacher"),
    (dict(temperatures={"image": 0.1}), r"teachers \['audio'\] with temperatures of \['image'\]"),
    (dict(temperatures={"audio": 0.0}), "temperatures.audio=0.0"),
    (dict(teacher_share=1.5), "teacher_share=1.5"), (dict(num_classes=1), "num_classes=1"),
])  # fmt: skip
def test_mistakes_are_refused(wrong, message):
    how = dict(teachers={"audio": teachers.column("audio")}, num_classes=5)
    with pytest.raises(ValueError, match=message):
        ccl.make(towers(), **(how | dict(temperatures={"audio": 0.5}) | wrong))


def test_teacher_of_another_width_is_refused(golden):
    g = golden("distillation")
    method = ccl.make(towers(), {"audio": teachers.column("audio")}, 5, {"audio": 0.5})
    batch = {"video": g["ccl_step/clip"], "audio": g["ccl_step/audio"][:, :9]}
    with pytest.raises(ValueError, match="'audio' has 9 features, the student 16"):
        jax.eval_shape(lambda: method.init(jax.random.key(0), batch, 8))
