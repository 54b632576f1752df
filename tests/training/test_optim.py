import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from avjax.training import optim

PARAMS = {
    "encoders_video": {"conv1": {"kernel": jnp.ones((3, 2))}, "conv2x_0": {"kernel": jnp.ones(4)}},
    "classifier": {"kernel": jnp.ones((2, 5)), "bias": jnp.zeros(5)},
}


def train(tx, steps=3, params=PARAMS):
    """`params` after some steps with random gradients, and the state of the optimizer."""
    state = tx.init(params)
    for step in range(steps):
        rngs = jax.random.split(jax.random.key(step), 8)
        leaves, tree = jax.tree.flatten(params)
        grads = jax.tree.unflatten(
            tree, [jax.random.normal(r, x.shape) for r, x in zip(rngs, leaves)]
        )
        updates, state = tx.update(grads, state, params, value=1.0)
        params = optax.apply_updates(params, updates)
    return params, state


def test_frozen_parameters_are_bit_equal_even_with_weight_decay():
    tx = optim.freeze(optax.adamw(0.1, weight_decay=0.5), ("^encoders_",))
    after, state = train(tx)
    jax.tree.map(np.testing.assert_array_equal, after["encoders_video"], PARAMS["encoders_video"])
    alone, _ = train(optax.with_extra_args_support(optax.adamw(0.1, weight_decay=0.5)))
    jax.tree.map(np.testing.assert_array_equal, after["classifier"], alone["classifier"])
    shapes = {x.shape for x in jax.tree.leaves(state)}
    assert (2, 5) in shapes and (3, 2) not in shapes  # No moments of what is frozen.


def test_parts_have_optimizers_of_their_own():
    """With weight decay and momentum, as if each part were alone."""
    first, second = (
        optax.chain(optax.add_decayed_weights(0.1), optax.sgd(rate, momentum=0.9))
        for rate in (0.1, optax.linear_schedule(0.2, 0.0, 2))
    )
    after, _ = train(optim.by_part(first, (("^classifier/", second),)))
    for part, alone in (("encoders_video", first), ("classifier", second)):
        want, _ = train(optax.with_extra_args_support(alone))
        jax.tree.map(np.testing.assert_array_equal, after[part], want[part])
    with pytest.raises(ValueError, match=r"'\^heads' matches no parameter; their paths begin with"):
        optim.by_part(first, (("^heads", second),)).init(PARAMS)


@pytest.mark.parametrize("make", [optax.adam, optax.sgd])
def test_layerwise_factors_scale_learning_rate(make):
    factors = (("encoders_video/conv1", 0.0), ("^encoders_", 0.1))
    after, _ = train(optim.layerwise(make(0.2), factors), steps=1)
    for part, rate in (("conv1", 0.0), ("conv2x_0", 0.02)):
        want, _ = train(optax.with_extra_args_support(make(rate)), steps=1)
        np.testing.assert_allclose(
            after["encoders_video"][part]["kernel"],
            want["encoders_video"][part]["kernel"],
            rtol=1e-6,
        )
    want, _ = train(optax.with_extra_args_support(make(0.2)), steps=1)
    jax.tree.map(np.testing.assert_array_equal, after["classifier"], want["classifier"])


def test_plateau_schedules_still_get_the_loss():
    plateau = optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(patience=1))
    for tx in (optim.freeze(plateau, ("conv1",)), optim.layerwise(plateau, (("conv1", 0.5),))):
        after, _ = train(tx)
        assert (after["classifier"]["bias"] != 0).all()


@pytest.mark.parametrize(
    "make", [optim.freeze, lambda tx, paths: optim.layerwise(tx, [(p, 0.5) for p in paths])]
)
def test_path_of_no_parameter_is_refused(make):
    with pytest.raises(
        ValueError, match="'encoder_video' matches no parameter.*classifier, encoders_video"
    ):
        make(optax.sgd(0.1), ("encoder_video",)).init(PARAMS)
    with pytest.raises(ValueError, match="no regular expression"):
        make(optax.sgd(0.1), ("(",))


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="freeze all parameters"):
        optim.freeze(optax.sgd(0.1), (".*",)).init(PARAMS)
    with pytest.raises(ValueError, match="give a tuple"):
        optim.freeze(optax.sgd(0.1), "encoders_video")
    with pytest.raises(ValueError, match="factors=-1"):
        optim.layerwise(optax.sgd(0.1), (("conv1", -1.0),))
