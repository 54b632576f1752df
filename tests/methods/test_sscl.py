"""SSCL: its losses by hand, and a chain of all its stages on the tiny world."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.configs import sscl_kinetics
from avjax.losses import sampling
from avjax.losses.contrastive import info_nce
from avjax.methods import sscl
from avjax.nets.layers.mlp import Linear
from avjax.nets.towers import Towers
from avjax.runtime import checkpoint, metrics_writer
from avjax.training import experiment, init_from, stages
from avjax.types import TrainState
from tests import tiny

SIZE, B, K, T = 20, 4, 6, 0.5
HOW = dict(num_negatives=K, momentum=0.5, loss_fn=info_nce(), temperature=T)


class Same(nn.Module):
    def __call__(self, x, train: bool):
        return x


def linear():
    def each(make):
        return {m: make() for m in sscl.OTHER}

    return Towers(each(Same), each(Same), each(lambda: Linear(3)))


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    z = {m: rng.standard_normal((B, 5)).astype(np.float32) for m in ("video", "audio")}
    return z | {"index": np.array([3, 0, 17, 9], np.int32)}


def made(method, batch):
    params, state = method.init(jax.random.key(0), batch, SIZE)
    return params, state, jax.random.key(1)


def cross_entropy(query, memory, index, rng):
    """InfoNCE of each query with its own row against the rows drawn; NumPy."""
    rows = np.asarray(sampling.sample_excluding(rng, index[:, None], SIZE, K))
    memory = np.asarray(memory["rows"], np.float64)
    scores = np.stack([memory[np.append(i, r)] @ q for q, i, r in zip(query, index, rows)]) / T
    return np.log(np.exp(scores).sum(1)) - scores[:, 0]


@pytest.mark.parametrize("student", ["video", "audio"])
def test_student_learns_from_teacher_memory(batch, student):
    teacher = sscl.OTHER[student]
    method = sscl.stage_one(linear(), student, **HOW)
    params, state, rng = made(method, batch)
    assert list(params) == [f"heads_{student}"] and list(state["teacher"]) == [f"heads_{teacher}"]
    z = method.embed(params, state, batch)
    assert set(z) == {"video", "audio"}
    got, (after, metrics) = method.loss(params, state, batch, rng)
    query = np.asarray(z[student]["embedding"], np.float64)
    want = cross_entropy(query, state["memory"][teacher], batch["index"], rng).mean()
    np.testing.assert_allclose(got, want, rtol=1e-5)
    np.testing.assert_allclose(metrics[f"loss/{student[0]}2{teacher[0]}"], got)
    # The teacher and its memory stay; the student's memory moves where the batch is.
    for still in (lambda s: s["teacher"], lambda s: s["memory"][teacher]):
        jax.tree.map(np.testing.assert_array_equal, still(state), still(after))
    moved = (after["memory"][student]["rows"] != state["memory"][student]["rows"]).any(1)
    assert sorted(np.flatnonzero(moved)) == sorted(batch["index"])


def test_two_nets_learn_from_each_other(batch):
    method = sscl.stage_two(linear(), **HOW, structure_weight=0.3)
    params, state, rng = made(method, batch)
    z = {m: o["embedding"] for m, o in method.embed(params, state, batch).items()}
    grad = jax.value_and_grad(method.loss, has_aux=True)
    (total, (after, metrics)), grads = grad(params, state, batch, rng)
    for query, key in sscl.OTHER.items():
        want = cross_entropy(np.asarray(z[query]), state["memory"][key], batch["index"], rng)
        np.testing.assert_allclose(metrics[f"loss/{query[0]}2{key[0]}"], want.mean(), rtol=1e-5)
        assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(grads[f"heads_{query}"]))
        assert (after["memory"][query]["rows"] != state["memory"][query]["rows"]).any()
    parts = metrics["loss/v2a"] + metrics["loss/a2v"] + 0.3 * metrics["loss/structure"]
    np.testing.assert_allclose(total, parts, rtol=1e-6)
    assert after["step"] == 1


def test_divergence_compares_video_and_audio_similarities():
    rng = np.random.default_rng(1)
    z = {m: rng.standard_normal((B, 3), np.float32) for m in sscl.OTHER}
    memory = {m: {"rows": rng.standard_normal((SIZE, 3), np.float32)} for m in sscl.OTHER}
    rows = rng.integers(SIZE, size=(B, K))
    p, q = (
        np.exp(s) / np.exp(s).sum(1, keepdims=True)
        for s in (np.einsum("bd,bkd->bk", z[m], memory[m]["rows"][rows]) / T for m in z)
    )
    want = (p * np.log(p / q)).sum(1)
    np.testing.assert_allclose(sscl.divergence(z, memory, rows, T), want, rtol=1e-4)
    twin = sscl.divergence(dict.fromkeys(z, z["video"]), dict.fromkeys(z, memory["video"]), rows, T)
    np.testing.assert_allclose(twin, 0, atol=1e-6)


def test_easiness_is_agreement_in_the_worse_modality():
    z = {"video": jnp.eye(2), "audio": jnp.eye(2)}
    memory = {"video": {"rows": jnp.array([[0.9, 0], [0.5, 0.2]])}}
    memory["audio"] = {"rows": jnp.array([[0.4, 0], [0.3, 0.6]])}
    got = sscl.memory_similarity(z, memory, jnp.arange(2))
    np.testing.assert_allclose(got, [0.4, 0.2], rtol=1e-6)


@pytest.mark.parametrize("share, want", [(0.5, [0.5, 0, 0, 0.5]), (0.0, [1, 0, 0, 0])])
def test_only_easiest_fraction_of_batch_counts(share, want):
    ease = jnp.array([0.9, 0.1, -0.2, 0.3])
    np.testing.assert_array_equal(sscl.easiest_weights(share, ease), want)


@pytest.mark.parametrize("stage", ["stage_one", "stage_two"])
def test_curriculum_follows_steps(batch, stage):
    """The share is 1/4, then 1: what all clips lose is lost only at the second step."""
    more = dict(student="audio") if stage == "stage_one" else dict(structure_weight=0.0)
    method, plain = (
        getattr(sscl, stage)(linear(), **HOW, **more, keep_fraction=share)
        for share in (lambda step: jnp.where(step < 1, 0.25, 1.0), None)
    )
    params, state, rng = made(method, batch)
    first, (after, metrics) = method.loss(params, state, batch, rng)
    whole, _ = plain.loss(params, state, batch, rng)
    assert metrics["curriculum/keep_fraction"] == 0.25 and abs(first - whole) > 1e-3
    state["step"] = after["step"]
    second, (_, metrics) = method.loss(params, state, batch, rng)
    assert metrics["curriculum/keep_fraction"] == 1
    np.testing.assert_allclose(second, whole, rtol=1e-6)


def test_student_must_be_a_known_modality():
    with pytest.raises(ValueError, match="student='both': use one of"):
        sscl.stage_one(linear(), "both", **HOW)


def drawn(config, seed):
    """A state as a stage begins with it, all at random; nothing is compiled."""
    rng, method = np.random.default_rng(seed), experiment.build_method(config)[0]
    batch = {"video": np.zeros((B, 4, 16, 16, 3), np.uint8), "audio": np.ones((B, 4000), np.int16)}
    batch["index"] = np.arange(B)
    shapes = jax.eval_shape(lambda: method.init(jax.random.key(0), batch, SIZE))
    params, state = jax.tree.map(lambda x: jnp.asarray(rng.random(x.shape), x.dtype), shapes)
    return TrainState(jnp.zeros((), jnp.int32), jax.random.key(0), params, (), state)


def test_chain_passes_nets_statistics_and_memories(world, tmp_path):
    config = tiny.config(world, evals={})
    model = config["method"]["model"]
    methods = sscl_kinetics.stage_methods(
        model, num_negatives=16, structure_weight=1.0, keep_fraction=None
    )
    config["stages"] = sscl_kinetics.chain(2, methods)
    run = {}
    for n, (folder, stage) in enumerate(stages.expand(config, str(tmp_path))):
        ts = drawn(stage, n)
        if "init_from" in stage:
            inherits = experiment.build_method(stage)[0].inherits
            ts, line = init_from.apply(ts, stage["init_from"], inherits, None)
            assert sscl.TEACHER_REQUIRED not in line
        with checkpoint.open_checkpoints(folder) as checkpoints:
            checkpoint.save(checkpoints, ts)
            checkpoint.wait_until_finished(checkpoints)
        run[folder.rsplit("/", 1)[1]] = ts
    names = [f"{kind}_{n}" for n in (1, 2) for kind in ("audio", "video", "mutual")]
    assert list(run) == ["instance", *names]

    def same(now, before):
        jax.tree.map(np.testing.assert_array_equal, now, before)

    def nets(tree, m):
        return {name: part for name, part in tree.items() if name.endswith(m)}

    def stats(ts, m):
        return ts.state["stats"]["batch_stats"][f"encoders_{m}"]

    # A teacher comes with its net, its statistics and its memory.
    for now, before, m in (
        ("audio_1", "instance", "video"),
        ("video_1", "audio_1", "audio"),
        ("audio_2", "mutual_1", "video"),
        ("video_2", "audio_2", "audio"),
    ):
        now, before = run[now], run[before]
        same(now.state["teacher"], nets(before.params, m))
        same(stats(now, m), stats(before, m))
        same(now.state["memory"][m], before.state["memory"][m])
    # A student of video begins as the teacher of sound, and both go on from there.
    same(run["video_1"].params, run["instance"].params)
    for n in (1, 2):
        now, before = run[f"mutual_{n}"], run[f"video_{n}"]
        same(now.params, before.params | before.state["teacher"])
        for part in ("stats", "memory"):
            same(now.state[part], before.state[part])
    same(run["audio_2"].params, nets(run["mutual_1"].params, "audio"))
    same(
        run["audio_1"].state["stats"]["spectrogram_stats"],
        run["mutual_2"].state["stats"]["spectrogram_stats"],
    )


def test_stage_trains_on_tiny_world(world, tmp_path):
    config = tiny.config(world, steps=30, save_every=30, evals={})
    model = config["method"]["model"]
    half = dict(fn="optax.linear_schedule", init_value=0.5, end_value=1.0, transition_steps=15)
    methods = sscl_kinetics.stage_methods(
        model, num_negatives=16, structure_weight=1.0, keep_fraction=half
    )
    config |= dict(method=methods["mutual"], optimizer=dict(fn="optax.adam", learning_rate=1e-2))
    ts = tiny.run(config, tmp_path)
    found = {}
    for _, name, value in metrics_writer.read_rows(tmp_path):
        found.setdefault(name, []).append(value)
    # Memories start random, so the loss may climb until they have filled.
    assert np.mean(found["loss"][-5:]) < max(found["loss"]) - 0.1
    assert {
        "loss/v2a",
        "loss/a2v",
        "loss/structure",
        "score/negatives_above_positive",
    } <= found.keys()
    np.testing.assert_allclose(
        found["curriculum/keep_fraction"], np.minimum(0.5 + np.arange(30) / 30, 1)
    )
    assert ts.state["step"] == 30
