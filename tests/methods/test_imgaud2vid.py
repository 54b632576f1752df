"""A picture and audio that stand for video: the loss, devices, a run, and fine-tuning after it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.methods import classify, imgaud2vid
from avjax.nets import teachers
from avjax.nets.joint.image_audio import ImageAudio
from avjax.nets.layers.batch_norm import BatchNorm
from avjax.nets.layers.mlp import Linear, Mlp
from avjax.nets.towers import Towers
from avjax.runtime import metrics_writer, sharding
from avjax.training import init_from
from avjax.types import TrainState
from tests import tiny

KEY = jax.random.key(0, impl="rbg")  # Compiles in a fraction of the time.


class Same(nn.Module):
    def __call__(self, x, train: bool):
        return x


class Encoder(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        return nn.relu(BatchNorm()(Linear(6)(x.reshape(len(x), -1), train), train))


def student(**how):
    names = ("video", "audio")
    return ImageAudio({m: Same() for m in names}, {m: Encoder() for m in names}, **how)


def teacher(num_classes: int | None = 3):
    tower = Towers({"video": Same()}, {"video": Encoder()}, {"video": Mlp(())})
    return teachers.net(tower, num_classes)


def batch(size=8):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(size, 3, 2, 2, 3)).astype(np.float32)
    return {"video": x, "audio": rng.normal(size=(size, 4)).astype(np.float32),
            "index": np.arange(size), "label": np.arange(size) % 3}  # fmt: skip


def log_softmax(x):
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def test_loss_on_one_device_and_four_is_l1_and_kl():
    weights = dict(descriptor_weight=2.0, logits_weight=5.0, temperature=2.0)
    method, found = imgaud2vid.make(student(), teacher(), **weights), []
    params, state = jax.device_get(jax.jit(lambda b: method.init(KEY, b, 8))(batch()))

    def both(params, state, batch, rng):
        step = jax.value_and_grad(method.loss, has_aux=True)(params, state, batch, rng)
        out, _ = student().apply({"params": params, **state["stats"]}, batch, True,
                                 mutable="batch_stats")  # fmt: skip
        taught = teacher().apply(state["teachers"]["video"], batch, rng)
        return step, out["fusion"]["features"], taught, method.embed(params, state, batch)

    for count in (1, 4):
        mesh = sharding.mesh(jax.devices()[:count])
        with jax.set_mesh(mesh):
            placed = jax.device_put((params, state), sharding.replicated(mesh))
            here = sharding.shard_batch(batch(), mesh)
            found.append(jax.device_get(jax.jit(both)(*placed, here, jax.random.key(3))))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *found)
    ((loss, (after, metrics)), grads), features, taught, embedded = found[0]
    learned = params["classifier"]
    logits = features @ learned["kernel"] + learned["bias"]
    log_s, log_t = (log_softmax(x / 2) for x in (logits, taught["logits"]))
    kl = 4 * (np.exp(log_t) * (log_t - log_s)).sum(1).mean()
    l1 = np.abs(features - taught["features"]).mean()
    np.testing.assert_allclose(metrics["loss/descriptor"], l1, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss/logits"], kl, rtol=1e-4)
    np.testing.assert_allclose(loss, 2 * l1 + 5 * kl, rtol=1e-4)
    same = logits.argmax(1) == taught["logits"].argmax(1)
    np.testing.assert_allclose(metrics["teacher_agreement"], same.mean())
    jax.tree.map(np.testing.assert_array_equal, state["teachers"], after["teachers"])
    assert all(x.any() for x in jax.tree.leaves(grads) if x.ndim > 1)
    assert embedded["logits"].shape == (8, 3) and embedded["fusion"]["embedding"].shape == (8, 6)


def test_student_sees_the_first_frame_only():
    net, one = student(), batch()
    other = one | {"video": one["video"].copy()}
    other["video"][:, 1:] = 7
    variables = net.init(KEY, one, False)
    found = [net.apply(variables, b, False)["fusion"]["features"] for b in (one, other)]
    np.testing.assert_array_equal(*found)
    silent = {"video": one["video"]}
    assert set(net.apply(variables, silent, False)) == {"video"}


@pytest.mark.parametrize("how, message", [
    (dict(teacher=teacher(None)), "needs logits of the teacher: set num_classes"),
    (dict(model=student(width=5)), "the teacher has 6 features, the student 5"),
    (dict(temperature=0), "temperature=0"), (dict(logits_weight=-1.0), "logits_weight=-1.0"),
    (dict(descriptor_weight=0, logits_weight=0), "nothing would be learned"),
])  # fmt: skip
def test_mistakes_are_refused(how, message):
    with pytest.raises(ValueError, match=message):
        method = imgaud2vid.make(**(dict(model=student(), teacher=teacher()) | how))
        jax.eval_shape(lambda b: method.init(KEY, b, 8), batch())


def config(world, steps):
    """A student and a teacher of tiny nets; without init_from the teacher is random."""
    c = tiny.config(world, steps=steps, save_every=steps, evals={})
    model = c["method"]["model"]
    tower = {kind: {"video": model[kind]["video"]} for kind in ("frontends", "encoders")}
    heads = dict(video=dict(fn="avjax.nets.layers.mlp.Mlp", widths=()))
    tower |= dict(fn="avjax.nets.towers.Towers", heads=heads)
    own = {kind: model[kind] for kind in ("frontends", "encoders")}
    own |= dict(fn="avjax.nets.joint.image_audio.ImageAudio")
    c["method"] = dict(
        fn="avjax.methods.imgaud2vid",
        model=own,
        teacher=dict(fn="avjax.nets.teachers.net", model=tower, num_classes=12),
        logits_weight=1.0,
    )
    c["optimizer"] = dict(fn="optax.adam", learning_rate=1e-2)
    return c


def test_run_learns_and_classification_starts_from_it(world, tmp_path, capsys):
    trained = jax.device_get(tiny.run(config(world, 12), tmp_path))
    assert "A teacher needs trained weights" in capsys.readouterr().out
    found = {}
    for _, name, value in metrics_writer.read_rows(tmp_path):
        found.setdefault(name, []).append(value)
    for name in ("loss", "loss/descriptor"):
        assert np.mean(found[name][-3:]) < np.mean(found[name][:3])
    params = jax.tree.map(jnp.zeros_like, trained.params)
    stats = jax.tree.map(jnp.asarray, trained.state["stats"])
    new = TrainState(0, 0, params, (), {"stats": stats})
    method = classify.make(student(), 12, outputs=("fusion",))
    assert method.needs_audio
    after, line = init_from.apply(
        new, str(tmp_path), method.inherits, None, nets=method.inherited_nets
    )
    for name, value in after.params.items():
        want = params if name == "classifier" else trained.params
        jax.tree.map(np.testing.assert_array_equal, value, want[name])
    assert "params/fusion" in line and "new: params/classifier" in line


def test_classification_is_of_the_fusion():
    method = classify.make(student(), 4, outputs=("fusion",))

    @jax.jit
    def both(batch):
        params, state = method.init(KEY, batch, 8)
        return params["classifier"], method.embed(params, state, batch)

    learned, out = jax.device_get(both(batch()))
    want = out["fusion"]["features"] @ learned["kernel"] + learned["bias"]
    np.testing.assert_allclose(out["logits"], want, rtol=1e-4, atol=1e-5)
