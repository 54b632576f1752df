import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax import contrast

RNG = np.random.default_rng(0)
POSITIVE = RNG.normal(size=8).astype(np.float32)
SCORES = RNG.normal(size=(8, 20)).astype(np.float32)
ALL = jnp.ones((8, 20), bool)


def loss(c, positive, scores, mask=ALL):
    return c.finish(jnp.asarray(positive), c.fold(jnp.asarray(scores), mask))


def test_info_nce_is_cross_entropy():
    e = np.exp(np.concatenate([POSITIVE[:, None], SCORES], 1).astype(np.float64))
    want = -np.log(e[:, 0] / e.sum(1))
    np.testing.assert_allclose(loss(contrast.info_nce(), POSITIVE, SCORES), want, rtol=1e-5)


def test_logistic_is_the_nce_of_avid():
    k, z = 20, 2.2
    positive, negative = np.exp(POSITIVE.astype(float)), np.exp(SCORES.astype(float))
    want = -np.log(positive / (positive + k * z)) - np.log(k * z / (negative + k * z)).sum(1)
    got = loss(contrast.logistic(-np.log(k * z)), POSITIVE, SCORES)
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize("call", ["", "2"])
def test_nce_matches_the_reference_program(golden, call):
    g = golden("avid")
    positive, negative, z = g[f"nce/pos{call}"], g[f"nce/neg{call}"], g[f"nce/Z{call}"]
    c = contrast.logistic(float(-np.log(negative.shape[1] * z[0])))

    def mean(positive, negative):
        # The mean over several positives, the sum over negatives.
        zeros = jnp.zeros_like(negative[:, 0])
        found = jax.vmap(lambda p: c.finish(p, zeros), 1, 1)(positive).mean(1)
        return jnp.mean(found + c.fold(negative, jnp.ones_like(negative, bool)))

    value, grads = jax.value_and_grad(mean, (0, 1))(positive, negative)
    np.testing.assert_allclose(value, g[f"nce/loss{call}"], rtol=1e-6)
    if not call:
        np.testing.assert_allclose(grads[0], g["nce/dpos"], rtol=1e-5, atol=1e-8)
        np.testing.assert_allclose(grads[1], g["nce/dneg"], rtol=1e-5, atol=1e-8)


def test_the_partition_is_known_in_advance():
    dim, temperature, draws = 128, 0.07, 1024
    x = jax.random.normal(jax.random.key(0), (50_064, dim))
    x = x / jnp.linalg.norm(x, axis=1, keepdims=True)
    measured = jnp.exp(x[:64] @ x[64:].T / temperature).mean()
    known = np.exp(-contrast.nce_bias(draws, dim, temperature)) / draws
    np.testing.assert_allclose(measured, known, rtol=0.02)


@pytest.mark.parametrize("c", [contrast.info_nce(), contrast.logistic(-3.0)])
def test_negatives_may_come_in_parts(c):
    parts = c.merge(c.fold(SCORES[:, :7], ALL[:, :7]), c.fold(SCORES[:, 7:], ALL[:, 7:]))
    np.testing.assert_allclose(parts, c.fold(jnp.asarray(SCORES), ALL), rtol=1e-5)


@pytest.mark.parametrize("c", [contrast.info_nce(), contrast.logistic(-3.0)])
def test_masked_negatives_do_not_count(c):
    mask = ALL.at[:, 5:].set(False)
    got = loss(c, POSITIVE, SCORES, mask)
    np.testing.assert_allclose(got, loss(c, POSITIVE, SCORES[:, :5], mask[:, :5]), rtol=1e-6)


def test_a_tiny_loss_and_its_gradient_come_back_right():
    c = contrast.info_nce()
    f = lambda p: loss(c, p, jnp.zeros((1, 1)), jnp.ones((1, 1), bool))[0]
    value, grad = jax.value_and_grad(f)(jnp.array([35.0]))
    np.testing.assert_allclose(value, np.log1p(np.exp(-35.0)), rtol=1e-5)
    np.testing.assert_allclose(grad[0], -np.exp(-35.0), rtol=1e-5)
