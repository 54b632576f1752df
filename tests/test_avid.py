"""Runs of AVID on the tiny world, against every source of negatives."""

import jax
import numpy as np
import pytest

from avjax import logs, plan, train
from tests import tiny


def losses(workdir, name="loss"):
    return [value for _, found, value in logs.read(workdir) if found == name]


def config(world, steps, negatives, **method):
    c = tiny.config(world, steps=steps, save_every=steps, evals={})
    c["method"] |= {"negatives": dict(negatives), **method}
    return c


@pytest.fixture(scope="module")
def dense(world, tmp_path_factory):
    """A run against the rest of the batch."""
    workdir = tmp_path_factory.mktemp("dense")
    train.run(config(world, 5, dict(fn="avjax.negatives.in_batch")), workdir)
    return workdir


@pytest.mark.parametrize("fn", ["tiled", "ring"])
def test_tiles_train_as_the_dense_batch_on_four_devices(world, dense, tmp_path, fn):
    assert jax.device_count() == 4
    train.run(config(world, 5, dict(fn=f"avjax.negatives.{fn}", tile=3)), tmp_path)
    for name in ("loss", "grad_norm", "score/positive", "score/negative", "score/above"):
        got, want = losses(tmp_path, name), losses(dense, name)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    "negatives",
    [
        dict(fn="avjax.negatives.shared", draws=16),
        dict(fn="avjax.negatives.queue", length=24),
        dict(fn="avjax.negatives.ring", draws=3),
    ],
)
def test_avid_learns_against_other_negatives(world, tmp_path, negatives):
    c = config(world, 30, negatives)
    c["optimizer"] = dict(fn="optax.adam", learning_rate=1e-2)
    c["sharding"] = (("rows$|keys$", ("data",)), (".*", ()))
    train.run(c, tmp_path)
    got = losses(tmp_path)
    # Memories start random, so the loss may climb until they have filled.
    assert np.mean(got[-5:]) < max(got) - 0.1
    assert all(0 <= share <= 1 for share in losses(tmp_path, "score/above"))


def test_a_learned_temperature_and_bias_move(world, tmp_path):
    c = config(
        world,
        5,
        dict(fn="avjax.negatives.ring"),
        contrast=dict(fn="avjax.contrast.logistic", bias=-10.0),
        scale=dict(fn="avjax.contrast.learned", temperature=0.1, bias=-10.0),
    )
    ts = train.run(c, tmp_path)
    assert ts.params["scale"]["bias"] != -10
    moved = losses(tmp_path, "temperature")
    np.testing.assert_allclose(moved[0], 0.1, rtol=1e-6)
    assert moved[-1] != moved[0]


@pytest.mark.parametrize("chunks", [1, 2])
def test_joint_avid_trains_against_a_bank(world, tmp_path, chunks):
    config = tiny.config(world, steps=30, save_every=30, evals={})
    config["method"] |= dict(
        negatives=dict(fn="avjax.negatives.bank", draws=16),
        contrast=dict(fn="avjax.contrast.nce", draws=16, dim=8, temperature=0.1),
        terms=dict(v2a=1.0, a2v=1.0, v2v=1.0, a2a=1.0),
        chunks=chunks,
    )
    config["optimizer"] = dict(fn="optax.adam", learning_rate=1e-2)
    train.run(config, tmp_path)
    got = losses(tmp_path)
    # Memories start random, so the loss may climb until they have filled.
    assert np.mean(got[-5:]) < max(got) - 0.1


def test_within_modal_terms_want_a_memory(world):
    config = tiny.config(world)
    config["method"]["terms"] = dict(v2v=1.0)
    with pytest.raises(ValueError, match="compare a clip with itself"):
        plan.describe(config, plan.check(config))
