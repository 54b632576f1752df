"""Students and frozen teachers: losses of the batch, devices, teachers of all kinds, whole runs."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from avjax.losses import distillation
from avjax.methods import distill
from avjax.nets import teachers
from avjax.nets.layers.batch_norm import BatchNorm
from avjax.nets.layers.mlp import Linear, Mlp
from avjax.nets.towers import Towers
from avjax.runtime import metrics_writer, sharding
from avjax.training import experiment, init_from
from avjax.types import TrainState
from tests import tiny

# In one line each: the losses as a config names them, small.
LOSSES = {
    "none": {}, "kd": {}, "fitnet": {}, "pkt": {}, "cor": dict(dim=5), "rkd": {}, "ifd": {},
    "crd": dict(dim=5, num_negatives=9), "cmc": dict(dim=5, num_negatives=9),
}  # fmt: skip
KEY = jax.random.key(0, impl="rbg")  # Compiles in a fraction of the time.
PKT = dict(fn="avjax.losses.distillation.pkt")


class Same(nn.Module):
    def __call__(self, x, train: bool):
        return x


class Encoder(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        return nn.relu(BatchNorm()(Linear(6)(x.reshape(len(x), -1), train), train))


def tower(name):
    return Towers({name: Same()}, {name: Encoder()}, {name: Mlp(())})


def batch(size=8):
    x = np.random.default_rng(0).normal(size=(2, size, 3, 4)).astype(np.float32)
    batch = {"video": x[0], "audio": x[1], "label": np.arange(size) % 3}
    return batch | {"index": np.arange(size), "has_audio": np.arange(size) != 5}


def made(loss_fn, **kinds):
    kinds = kinds or {"audio": teachers.net(tower("audio"), num_classes=3)}
    return distill.make(tower("video"), kinds, 3, loss_fn)


def init_of(method):
    return lambda batch: method.init(KEY, batch, 40)


def step_of(method):
    return jax.value_and_grad(method.loss, has_aux=True)


@pytest.fixture(scope="module")
def steps():
    """{loss: what one step of it gives}, compiled together."""
    methods = {name: made(getattr(distillation, name)(**how)) for name, how in LOSSES.items()}

    def both(method, batch):
        params, state = init_of(method)(batch)
        step = step_of(method)(params, state, batch, KEY)
        return params, state, step, method.embed(params, state, batch)["logits"]

    found = jax.jit(lambda batch: {name: both(m, batch) for name, m in methods.items()})(batch())
    assert not any(method.needs_audio for method in methods.values())
    return found


@pytest.mark.parametrize("name", LOSSES)
def test_student_learns_and_teacher_stays(steps, name):
    """By each loss: the teacher's state stays, and the loss's own layers have gradients."""
    loss_fn = getattr(distillation, name)(**LOSSES[name])
    params, state, ((loss, (after, metrics)), grads), logits = steps[name]
    jax.tree.map(np.testing.assert_array_equal, state["teachers"], after["teachers"])
    parts = metrics["loss/cross_entropy"], metrics["loss/distillation/audio"]
    want = loss_fn.label_weight * parts[0] + loss_fn.weight * parts[1]
    np.testing.assert_allclose(loss, want, rtol=1e-5)
    assert all(x.any() for x in jax.tree.leaves(grads["distillation"]))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(grads))
    assert (parts[1] != 0) == (name != "none")
    assert "teachers" not in params and logits.shape == (8, 3)


def test_two_teachers_count_equally():
    """In one of audio a clip without it does not count; in one of vectors a row of zeros."""
    vectors = np.random.default_rng(1).normal(size=(8, 6)).astype(np.float32)
    vectors[2] = 0
    here = batch() | {"vectors": vectors}
    kinds = {"audio": teachers.net(tower("audio"), 3), "image": teachers.column("vectors")}
    method = distill.make(tower("video"), kinds, 3, distillation.pkt(weight=2.0))

    @jax.jit
    def both(batch):
        params, state = init_of(method)(batch)
        loss, (_, metrics) = method.loss(params, state, batch, KEY)
        valid = teachers.apply_all(kinds, state["teachers"], batch, KEY)
        return loss, metrics, {name: t["valid"] for name, t in valid.items()}

    loss, metrics, valid = both(here)
    assert list(np.flatnonzero(~valid["audio"])) == [5]
    assert list(np.flatnonzero(~valid["image"])) == [2]
    each = [metrics[f"loss/distillation/{name}"] for name in kinds]
    np.testing.assert_allclose(loss, metrics["loss/cross_entropy"] + sum(each), rtol=1e-5)


def test_teacher_has_the_logits_of_its_own_classifier():
    teacher = teachers.net(tower("audio"), num_classes=3)

    @jax.jit
    def both(batch):
        state = teacher.init(KEY, batch)
        weights = {k: v for k, v in state["params"].items() if k != "classifier"}
        out = tower("audio").apply({"params": weights, **state["stats"]}, batch, False)["audio"]
        learned = {"params": state["params"]["classifier"]}
        want = Linear(3).apply(learned, out["features"], False)
        return teacher.apply(state, batch, None)["logits"], want

    np.testing.assert_allclose(*both(batch()), rtol=1e-5)


def test_kd_needs_logits_of_the_same_classes():
    for classes, message in (
        (None, "kd needs logits of the teacher: set num_classes"),
        (7, "3 classes of the student with 7 of the teacher"),
    ):
        method = made(distillation.kd(), audio=teachers.net(tower("audio"), classes))
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(init_of(method), batch())


def test_picture_teacher_sees_the_same_frame_of_all_clips():
    class Mean(nn.Module):
        def __call__(self, x, train: bool):
            return x.mean((2, 3)).reshape(len(x), -1)

    video = np.zeros((8, 5, 4, 4, 3), np.uint8) + np.arange(5, dtype=np.uint8)[:, None, None, None]
    model = Towers({"video": Same()}, {"video": Mean()}, {"video": Mlp(())})
    for size in (None, 8):
        teacher = teachers.frame_net(model, size=size)
        seen = jax.jit(lambda rng, t=teacher: t.apply(
            {"params": {}, "stats": {}}, {"video": video, "index": np.arange(8)}, rng
        )["features"])  # fmt: skip
        frames = np.array([seen(jax.random.key(n)) for n in range(40)])
        assert frames.shape == (40, 8, 3) and len(np.unique(frames)) == 5
        assert (frames == frames[:, :1, :1]).all()


def test_crd_on_one_device_and_four_agree():
    """Two steps, with the memories' rows divided among the devices."""
    method, found = made(distillation.crd(dim=5, num_negatives=9)), []
    params, state = jax.device_get(jax.jit(init_of(method))(batch()))
    rules = (("rows$", ("data",)), (".*", ()))
    for count in (1, 4):
        mesh = sharding.mesh(jax.devices()[:count])
        with jax.set_mesh(mesh):
            places = sharding.shardings_from_rules(state, mesh, rules)
            weights = jax.device_put(params, sharding.replicated(mesh))
            now, here = jax.device_put(state, places), sharding.shard_batch(batch(), mesh)
            step = jax.jit(step_of(method), out_shardings=((None, (places, None)), None))
            for n in range(2):
                (loss, (now, _)), grads = step(weights, now, here, jax.random.key(n))
                found.append(jax.device_get((loss, now, grads)))
    for one, four in zip(found[:2], found[2:]):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one, four)
    z = found[0][1]["distillation"]["audio"]["z"]
    assert z["student"] > 0 and z == found[1][1]["distillation"]["audio"]["z"]


@pytest.mark.parametrize("wrong, message", [
    (dict(teachers={}), "give at least one"), (dict(num_classes=1), "num_classes=1"),
    (dict(loss_fn=distillation.pkt(weight=-1.0)), "loss_fn.weight=-1.0"),
    (dict(model=Towers(*({"video": Same(), "audio": Same()},) * 3)), "one encoder, not audio, vid"),
])  # fmt: skip
def test_mistakes_are_refused(wrong, message):
    how = dict(model=tower("video"), teachers={"audio": teachers.column("x")}, num_classes=3)
    with pytest.raises(ValueError, match=message):
        distill.make(**(how | dict(loss_fn=distillation.none()) | wrong))


def test_teachers_are_refused_with_more_than_one_encoder_or_without_their_input():
    with pytest.raises(ValueError, match="a teacher has one encoder, not audio, video"):
        teachers.net(Towers(*({"video": Same(), "audio": Same()},) * 3))
    silent = {name: x for name, x in batch().items() if name != "audio"}
    with pytest.raises(ValueError, match="reads 'vectors', and the batch has"):
        teachers.column("vectors").apply((), silent, None)
    with pytest.raises(ValueError, match="the teacher needs audio, and the batch has"):
        teachers.net(tower("audio")).apply({"params": {}, "stats": {}}, silent, None)


def one_tower(model, name):
    kinds = ("frontends", "encoders")
    one = {kind: {name: model[kind][name]} for kind in kinds}
    return model | one | dict(heads={name: dict(fn="avjax.nets.layers.mlp.Mlp", widths=())})


def config(world, start, steps, fn, **method):
    """A student of video with teachers of audio and pictures, as `start` has trained them."""
    c = tiny.config(world, steps=steps, save_every=2, evals={})
    model = c["method"]["model"]
    student, listener = (one_tower(model, name) for name in ("video", "audio"))
    kinds = dict(
        audio=dict(fn="avjax.nets.teachers.net", model=listener),
        image=dict(fn="avjax.nets.teachers.frame_net", model=student),
    )
    c["method"] = dict(fn=fn, model=student, teachers=kinds, num_classes=12, **method)
    paths = {}
    for teacher, name in (("audio", "audio"), ("image", "video")):
        for here, there in (("params", "params"), ("stats/batch_stats", "state/stats/batch_stats")):
            part = f"encoders_{name}"
            paths[f"state/teachers/{teacher}/{here}/{part}"] = f"{there}/{part}"
    sound = "stats/spectrogram_stats"
    paths[f"state/teachers/audio/{sound}"] = f"state/{sound}"
    c["init_from"] = dict(folder=str(start), paths=paths)
    c["optimizer"] = dict(fn="optax.adamw", learning_rate=3e-3, weight_decay=0.1)
    c["sharding_rules"] = (("rows$", ("data",)), (".*", ()))
    return c


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    """(folder of a run of AVID, its state): the weights of both teachers."""
    folder = tmp_path_factory.mktemp("trained")
    return folder, jax.device_get(tiny.run(tiny.config(world, 1, save_every=1, evals={}), folder))


def metrics_of(folder):
    found = {}
    for _, name, value in metrics_writer.read_rows(folder):
        found.setdefault(name, []).append(value)
    return found


def teachers_are_those_of(trained, ts):
    for name, teacher in ts.state["teachers"].items():
        part = f"encoders_{dict(audio='audio', image='video')[name]}"
        for now, before in (
            (teacher["params"][part], trained.params[part]),
            (
                teacher["stats"]["batch_stats"][part],
                trained.state["stats"]["batch_stats"][part],
            ),
        ):
            jax.tree.map(np.testing.assert_array_equal, now, before)


def test_resumed_run_of_crd_equals_uninterrupted(world, trained, tmp_path):
    """Memories, Z and classes too; with weight decay the teachers stay bit-equal."""
    start, before = trained
    crd = dict(fn="avjax.losses.distillation.crd", dim=5, num_negatives=20)
    c = config(world, start, 4, "avjax.methods.distill", loss_fn=crd)
    del c["method"]["teachers"]["image"]
    c["init_from"]["paths"] = {h: t for h, t in c["init_from"]["paths"].items() if "image" not in h}
    whole = jax.device_get(tiny.run(c, tmp_path / "whole"))
    tiny.run(c | dict(steps=2), tmp_path / "parts")
    resumed = jax.device_get(tiny.run(c, tmp_path / "parts"))
    for part in ("params", "state", "opt"):
        pair = getattr(whole, part), getattr(resumed, part)
        jax.tree.map(np.testing.assert_array_equal, *pair)
    for memory in whole.state["distillation"].values():
        assert memory["z"]["student"] > 0 and set(memory["label"]) > {-1}
    teachers_are_those_of(before, whole)
    assert {"loss/distillation/audio", "accuracy"} <= metrics_of(tmp_path / "whole").keys()


def test_ccl_trains_with_teachers_of_another_run(world, trained, tmp_path, capsys):
    start, before = trained
    how = dict(temperatures=dict(audio=0.5, image=0.1))
    c = config(world, start, 12, "avjax.methods.ccl", **how)
    ts = jax.device_get(tiny.run(c, tmp_path))
    found = metrics_of(tmp_path)
    assert np.mean(found["loss"][-4:]) < np.mean(found["loss"][:4])
    assert {"loss/nce/audio", "loss/symmetric_kl/image", "loss/composition/image"} <= found.keys()
    teachers_are_those_of(before, ts)
    assert "state/teachers/audio" in capsys.readouterr().out


def test_run_without_trained_teachers_is_refused(world, trained):
    c = config(world, trained[0], 2, "avjax.methods.distill", loss_fn=PKT)
    method = experiment.build_method(c)[0]
    shapes = {"video": np.zeros((2, 4, 16, 16, 3), np.uint8), "audio": np.ones((2, 4000), np.int16)}
    shapes |= {"index": np.arange(2), "has_audio": np.ones(2, bool)}
    params, state = jax.eval_shape(lambda: method.init(jax.random.key(0), shapes, 60))
    ts = TrainState(0, 0, params, (), state)
    message = "state/teachers/audio does not exist.*name the run of each teacher"
    with pytest.raises(ValueError, match=message):
        init_from.validate(ts, str(trained[0]), method.inherits, None, nets=method.inherited_nets)
