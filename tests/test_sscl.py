"""SSCL: its losses by hand, and a chain of all its stages on the tiny world."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax import checkpoint, logs, negatives, stages, train
from avjax.contrast import info_nce
from avjax.methods import sscl
from avjax.nets.heads import Linear
from avjax.nets.towers import Towers
from configs import sscl_kinetics
from tests import tiny

SIZE, B, K, T = 20, 4, 6, 0.5
HOW = dict(draws=K, momentum=0.5, contrast=info_nce(), temperature=T)


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
    rows = np.asarray(negatives.draw_outside(rng, index[:, None], SIZE, K))
    memory = np.asarray(memory["rows"], np.float64)
    scores = np.stack([memory[np.append(i, r)] @ q for q, i, r in zip(query, index, rows)]) / T
    return np.log(np.exp(scores).sum(1)) - scores[:, 0]


@pytest.mark.parametrize("student", ["video", "audio"])
def test_a_student_learns_from_the_memory_of_its_teacher(batch, student):
    teacher = sscl.OTHER[student]
    method = sscl.taught(linear(), student, **HOW)
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
    method = sscl.mutual(linear(), **HOW, structure=0.3)
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


def test_divergence_is_that_of_the_places_of_pictures_and_sounds():
    rng = np.random.default_rng(1)
    z = {m: rng.standard_normal((B, 3)) for m in sscl.OTHER}
    memory = {m: {"rows": rng.standard_normal((SIZE, 3))} for m in sscl.OTHER}
    rows = rng.integers(SIZE, size=(B, K))
    p, q = (
        np.exp(s) / np.exp(s).sum(1, keepdims=True)
        for s in (np.einsum("bd,bkd->bk", z[m], memory[m]["rows"][rows]) / T for m in z)
    )
    want = (p * np.log(p / q)).sum(1)
    np.testing.assert_allclose(sscl.divergence(z, memory, rows, T), want, rtol=1e-4)
    twin = sscl.divergence(dict.fromkeys(z, z["video"]), dict.fromkeys(z, memory["video"]), rows, T)
    np.testing.assert_allclose(twin, 0, atol=1e-6)


def test_ease_is_agreement_in_the_worse_modality():
    z = {"video": jnp.eye(2), "audio": jnp.eye(2)}
    memory = {"video": {"rows": jnp.array([[0.9, 0], [0.5, 0.2]])}}
    memory["audio"] = {"rows": jnp.array([[0.4, 0], [0.3, 0.6]])}
    got = sscl.agreement(z, memory, jnp.arange(2))
    np.testing.assert_allclose(got, [0.4, 0.2], rtol=1e-6)


@pytest.mark.parametrize("share, want", [(0.5, [0.5, 0, 0, 0.5]), (0.0, [1, 0, 0, 0])])
def test_the_easiest_part_of_a_batch_counts(share, want):
    ease = jnp.array([0.9, 0.1, -0.2, 0.3])
    np.testing.assert_array_equal(sscl.easiest(share, ease), want)


@pytest.mark.parametrize("stage", ["taught", "mutual"])
def test_a_curriculum_follows_the_steps(batch, stage):
    """The share is 1/4, then 1: what all clips lose is lost only at the second step."""
    more = dict(student="audio") if stage == "taught" else dict(structure=0.0)
    method, plain = (
        getattr(sscl, stage)(linear(), **HOW, **more, share=share)
        for share in (lambda step: jnp.where(step < 1, 0.25, 1.0), None)
    )
    params, state, rng = made(method, batch)
    first, (after, metrics) = method.loss(params, state, batch, rng)
    whole, _ = plain.loss(params, state, batch, rng)
    assert metrics["curriculum/share"] == 0.25 and abs(first - whole) > 1e-3
    state["step"] = after["step"]
    second, (_, metrics) = method.loss(params, state, batch, rng)
    assert metrics["curriculum/share"] == 1
    np.testing.assert_allclose(second, whole, rtol=1e-6)


def test_a_student_is_of_one_of_the_two_modalities():
    with pytest.raises(ValueError, match="student='both': use one of"):
        sscl.taught(linear(), "both", **HOW)


def test_the_chain_hands_on_nets_and_memories(world, tmp_path):
    config = tiny.config(world, steps=2, save_every=2, evals={})
    model = config["method"]["model"]
    methods = sscl_kinetics.steps_of(model, draws=16, structure=1.0, share=None)
    config["stages"] = sscl_kinetics.chain(2, methods)
    config["stages"].pop("video_2"), config["stages"].pop("mutual_2")
    chain = stages.of(config, str(tmp_path))
    names = ["instance", "audio_1", "video_1", "mutual_1", "audio_2"]
    assert [folder.rsplit("/", 1)[1] for folder, _ in chain] == names
    last = stages.run(chain)
    run = {name: checkpoint.newest(tmp_path / name) for name in names}

    def same(a, b):
        jax.tree.map(np.testing.assert_array_equal, a, b)

    # A teacher stays as the stage before it has left it, with its statistics and memory.
    same(run["audio_1"]["state"]["teacher"], run["instance"]["params"])
    same(run["video_1"]["state"]["teacher"], run["audio_1"]["params"])
    for now, before, m in (
        ("audio_1", "instance", "video"),
        ("video_1", "audio_1", "audio"),
        ("audio_2", "mutual_1", "video"),
    ):
        for path in (("memory", m), ("stats", "batch_stats", f"encoders_{m}")):
            here, there = run[now]["state"], run[before]["state"]
            for key in path:
                here, there = here[key], there[key]
            same(here, there)
    parts = ("encoders_video", "heads_video")
    same(run["audio_2"]["state"]["teacher"], {p: run["mutual_1"]["params"][p] for p in parts})
    assert set(run["mutual_1"]["params"]) > set(parts)
    found = {name for _, name, _ in logs.read(tmp_path / "mutual_1")}
    assert {"loss/v2a", "loss/a2v", "loss/structure", "score/above"} <= found
    # Both nets can be judged, whichever learns.
    batch = {"video": np.zeros((4, 4, 16, 16, 3), np.uint8), "audio": np.ones((4, 4000), np.int16)}
    out = train.made(chain[-1][1]).embed(last.params, last.state, batch | {"index": np.arange(4)})
    assert {m: o["embedding"].shape for m, o in out.items()} == {"video": (4, 8), "audio": (4, 8)}
