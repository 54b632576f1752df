"""Runs of AVID on the tiny world, against every source of negatives."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.losses import contrastive, memory_bank, negatives, pairs
from avjax.losses.temperature import fixed_temperature
from avjax.methods import avid
from avjax.runtime import metrics_writer, sharding
from avjax.training import dry_run, experiment
from tests import tiny


def losses(workdir, name="loss"):
    return [value for _, found, value in metrics_writer.read_rows(workdir) if found == name]


def config(world, steps, negatives, **method):
    c = tiny.config(world, steps=steps, save_every=steps, evals={})
    c["method"] |= {"negatives": dict(negatives), **method}
    return c


@pytest.fixture(scope="module")
def dense(world, tmp_path_factory):
    """A run against the rest of the batch."""
    workdir = tmp_path_factory.mktemp("dense")
    tiny.run(config(world, 5, dict(fn="avjax.losses.negatives.in_batch")), workdir)
    return workdir


@pytest.mark.parametrize("fn", ["tiled", "ring"])
def test_tiled_training_equals_dense_on_four_devices(world, dense, tmp_path, fn):
    assert jax.device_count() == 4
    tiny.run(config(world, 5, dict(fn=f"avjax.losses.negatives.{fn}", tile=3)), tmp_path)
    for name in (
        "loss",
        "grad_norm",
        "score/positive",
        "score/negative",
        "score/negatives_above_positive",
    ):
        got, want = losses(tmp_path, name), losses(dense, name)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    "negatives",
    [
        dict(fn="avjax.losses.memory_bank.shared_negatives", num_negatives=16),
        dict(fn="avjax.losses.queue", queue_size=24),
        dict(fn="avjax.losses.negatives.ring", num_negatives=3),
    ],
)
def test_avid_learns_against_other_negatives(world, tmp_path, negatives):
    c = config(world, 30, negatives)
    c["optimizer"] = dict(fn="optax.adam", learning_rate=1e-2)
    c["sharding_rules"] = (("rows$|keys$", ("data",)), (".*", ()))
    tiny.run(c, tmp_path)
    got = losses(tmp_path)
    # Memories start random, so the loss may climb until they have filled.
    assert np.mean(got[-5:]) < max(got) - 0.1
    assert all(0 <= share <= 1 for share in losses(tmp_path, "score/negatives_above_positive"))


def test_learned_temperature_and_bias_change(world, tmp_path):
    c = config(
        world,
        5,
        dict(fn="avjax.losses.negatives.ring"),
        loss_fn=dict(fn="avjax.losses.contrastive.logistic", bias=-10.0),
        temperature=dict(
            fn="avjax.losses.temperature.learned_temperature", temperature=0.1, bias=-10.0
        ),
    )
    ts = tiny.run(c, tmp_path)
    assert ts.params["temperature"]["bias"] != -10
    moved = losses(tmp_path, "temperature")
    np.testing.assert_allclose(moved[0], 0.1, rtol=1e-6)
    assert moved[-1] != moved[0]


@pytest.mark.parametrize("chunks", [1, 2])
def test_joint_avid_trains_against_memory_bank(world, tmp_path, chunks):
    config = tiny.config(world, steps=30, save_every=30, evals={})
    config["method"] |= dict(
        negatives=dict(fn="avjax.losses.memory_bank", num_negatives=16),
        loss_fn=dict(fn="avjax.losses.contrastive.nce"),
        terms=dict(v2a=1.0, a2v=1.0, v2v=1.0, a2a=1.0),
        chunks=chunks,
    )
    config["optimizer"] = dict(fn="optax.adam", learning_rate=1e-2)
    tiny.run(config, tmp_path)
    got = losses(tmp_path)
    # Memories start random, so the loss may climb until they have filled.
    assert np.mean(got[-5:]) < max(got) - 0.1


@pytest.mark.parametrize(
    "negatives",
    [
        dict(fn="avjax.losses.negatives.in_batch"),
        dict(fn="avjax.losses.queue", queue_size=24),
    ],
)
def test_within_modal_terms_require_memory_or_two_clips(world, negatives):
    config = tiny.config(world)
    config["method"] |= dict(negatives=negatives, terms=dict(v2v=1.0))
    with pytest.raises(ValueError, match="compare a clip with itself"):
        dry_run.validate(experiment.build(config))


class Table(nn.Module):
    """No net: the parameters [B, D] are what it would make of a batch, and its gradient theirs."""

    shape: tuple = (4, 128)

    @nn.compact
    def __call__(self, batch, train: bool):
        z = {m: self.param(m, nn.initializers.normal(), self.shape) for m in ("video", "audio")}
        unit = {m: x / jnp.linalg.norm(x, axis=1, keepdims=True) for m, x in z.items()}
        return {m: {"features": x, "embedding": unit[m]} for m, x in z.items()}


VARIANTS = {
    "cross": dict(v2a=1.0, a2v=1.0),
    "self": dict(v2v=1.0, a2a=1.0),
    "joint": dict(v2a=1.0, a2v=1.0, v2v=1.0, a2a=1.0),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_two_steps_of_the_whole_method_match_the_reference_program(golden, variant):
    """The drawn rows are given, and so is Z, which the reference measures on the first batch."""
    g, terms, state = golden("avid"), VARIANTS[variant], None
    nce = contrastive.logistic(float(-np.log(16 * g[f"avid/{variant}/step0/Z"][0])))
    for step in ("step0", "step1"):
        drawn = jnp.asarray(g[f"avid/{step}/neg_idx"])
        bank = memory_bank.make(16, sampler=lambda *_, drawn=drawn: drawn)
        method = avid.make(Table(), bank, nce, terms, fixed_temperature(0.07))
        if state is None:
            _, state = method.init(jax.random.key(0), {}, 60)
            for m, s in state["memory"].items():
                s["rows"] = s["rows"].at[:60].set(g[f"avid/mem_{m}0"])
        params = {m: jnp.asarray(g[f"avid/{step}/{m}"]) for m in ("video", "audio")}
        batch = {"index": jnp.asarray(g[f"avid/{step}/y"])}
        value = jax.value_and_grad(method.loss, has_aux=True)
        (loss, (state, metrics)), grads = value(params, state, batch, jax.random.key(1))
        name = f"avid/{variant}/{step}"
        np.testing.assert_allclose(loss, g[f"{name}/loss"], rtol=1e-6)
        for t in terms:
            np.testing.assert_allclose(metrics[f"loss/{t}"], g[f"{name}/Loss_{t}"], rtol=1e-6)
        for m, grad in grads.items():
            want = g[f"{name}/d{m}"]
            assert np.linalg.norm(grad - want) < 1e-5 * np.linalg.norm(want)
            rows = state["memory"][m]["rows"][:60]
            np.testing.assert_allclose(rows, g[f"{name}/mem_{m}"], atol=1e-6)


def each_of_pairs(index, video, audio):
    """{term: InfoNCE} of two clips a record at temperature 0.2, in NumPy and float64."""
    z = {"v": np.asarray(video, float), "a": np.asarray(audio, float)}
    z = {m: x / np.linalg.norm(x, axis=1, keepdims=True) for m, x in z.items()}
    found = {}
    for t in VARIANTS["joint"]:
        each = []
        for i, row in enumerate(z[t[0]] @ z[t[2]].T / 0.2):
            positive = row[i ^ 1] if t[0] == t[2] else row[i]
            others = np.exp(row[index != index[i]]).sum()
            each.append(np.log(np.exp(positive) + others) - positive)
        found[t] = np.mean(each)
    return found


@pytest.mark.parametrize("source", ["in_batch", "tiled", "ring"])
def test_joint_avid_of_two_clips_matches_formula(source):
    """Its losses, and its gradient along a direction."""
    index = np.repeat([4, 1, 9, 2, 7, 3, 0, 5], 2)
    keys = getattr(negatives, source)(**({} if source == "in_batch" else {"tile": 3}))
    method = avid.make(
        Table((16, 8)),
        keys,
        contrastive.info_nce(),
        VARIANTS["joint"],
        fixed_temperature(0.2),
        num_clips=2,
    )
    mesh = sharding.mesh()
    with jax.set_mesh(mesh):
        params, state = method.init(jax.random.key(0), {}, 60)
        batch = sharding.shard_batch({"index": index}, mesh)
        value = jax.jit(jax.value_and_grad(method.loss, has_aux=True))
        (loss, (_, metrics)), grads = value(params, state, batch, jax.random.key(1))
    for t, want in each_of_pairs(index, **params).items():
        np.testing.assert_allclose(metrics[f"loss/{t}"], want, rtol=1e-5)
    np.testing.assert_allclose(loss, joint(index, params), rtol=1e-5)
    rng = np.random.default_rng(0)
    way = {m: 1e-5 * rng.standard_normal((16, 8)) for m in params}
    sides = (
        jax.tree.map(lambda x, w, s=s: np.asarray(x, float) + s * w, params, way) for s in (1, -1)
    )
    ahead, behind = (joint(index, side) for side in sides)
    slope = sum(np.sum(np.asarray(grads[m]) * way[m]) for m in params)
    np.testing.assert_allclose(slope, (ahead - behind) / 2, rtol=1e-4)


def joint(index, params):
    return np.mean(list(each_of_pairs(index, **params).values()))


def test_rows_that_are_not_pairs_are_not_treated_as_pairs():
    z = jnp.arange(8.0).reshape(4, 2)
    np.testing.assert_array_equal(
        pairs.next_clip_of_record(z, jnp.array([3, 3, 8, 8]), 2), z[jnp.array([1, 0, 3, 2])]
    )
    assert np.isnan(pairs.next_clip_of_record(z, jnp.array([3, 1, 8, 2]), 2)).all()


def test_self_avid_of_two_clips_trains_without_memory(world, tmp_path):
    c = config(world, 30, dict(fn="avjax.losses.negatives.in_batch"), terms=dict(v2v=1.0, a2a=1.0))
    c["method"]["num_clips"] = c["data"]["train"]["clip_sampler"]["num_clips"] = 2
    c["optimizer"] = dict(fn="optax.adam", learning_rate=1e-2)
    tiny.run(c, tmp_path)
    got = losses(tmp_path)
    assert np.mean(got[-5:]) < np.mean(got[:3]) - 0.1
