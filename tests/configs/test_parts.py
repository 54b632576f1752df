import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest

from avjax.config.build import build
from avjax.configs import optimizers, world
from avjax.training import stages

PARAMS = {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}


@pytest.mark.parametrize(
    "make", [optimizers.adamw_cosine, optimizers.lars_cosine, optimizers.lamb_cosine]
)
def test_optimizers_warm_up_and_decay_to_zero(make):
    tx = build(make(0.1, 2, 10, weight_decay=0.0))
    state, moved = tx.init(PARAMS), []
    for _ in range(160):  # LARS's momentum rolls on for a while.
        updates, state = tx.update(PARAMS, state, PARAMS)
        moved.append(float(optax.tree.norm(updates)))
    assert moved[0] == 0 and moved[-1] < 1e-6
    assert 0 < moved[1] < moved[2]


@pytest.mark.parametrize("make", [optimizers.lars_cosine, optimizers.lamb_cosine])
def test_biases_do_not_decay(make):
    grads = jax.tree.map(jnp.zeros_like, PARAMS)
    tx = build(make(0.1, 0, 10, weight_decay=0.5))
    updates, _ = tx.update(grads, tx.init(PARAMS), PARAMS)
    assert (updates["kernel"] < 0).all() and not updates["bias"].any()


def test_learning_rates_scale_with_batch_size():
    c = ml_collections.ConfigDict({"batch_size": 256})
    c.linear = optimizers.linear_rate(0.3, c.get_ref("batch_size"))
    c.root = optimizers.square_root_rate(0.3, c.get_ref("batch_size"))
    np.testing.assert_allclose([c.linear, c.root], 0.3)
    c.batch_size = 1024
    np.testing.assert_allclose([c.linear, c.root], [1.2, 0.6])
    assert optimizers.linear_rate(0.3, 512) == 0.6


@pytest.mark.parametrize("name", world.METHODS)
def test_every_world_method_has_a_config(name):
    c = world.get_config(name).to_dict()
    for _, stage in stages.expand(c, "run"):
        assert build(stage["method"]).loss


def test_unknown_world_method_is_refused_with_known_ones():
    with pytest.raises(ValueError, match="'byol': use one of cross-avid, .*, multisensory"):
        world.get_config("byol")
