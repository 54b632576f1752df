import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.losses import contrastive, score_metrics
from avjax.losses.temperature import fixed_temperature, learned_temperature

RNG = np.random.default_rng(0)
POSITIVE = RNG.normal(size=8).astype(np.float32)
SCORES = RNG.normal(size=(8, 20)).astype(np.float32)
ALL = jnp.ones((8, 20), bool)


def loss(c, positive, scores, mask=ALL):
    positive, scores = jnp.asarray(positive) + c.bias, jnp.asarray(scores) + c.bias
    return c.finalize(positive, c.accumulate(scores, mask, positive))


def test_info_nce_is_cross_entropy():
    e = np.exp(np.concatenate([POSITIVE[:, None], SCORES], 1).astype(np.float64))
    want = -np.log(e[:, 0] / e.sum(1))
    np.testing.assert_allclose(loss(contrastive.info_nce(), POSITIVE, SCORES), want, rtol=1e-5)


def test_logistic_equals_avid_nce():
    k, z = 20, 2.2
    positive, negative = np.exp(POSITIVE.astype(float)), np.exp(SCORES.astype(float))
    want = -np.log(positive / (positive + k * z)) - np.log(k * z / (negative + k * z)).sum(1)
    got = loss(contrastive.logistic(-np.log(k * z)), POSITIVE, SCORES)
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize("call", ["", "2"])
def test_nce_matches_the_reference_program(golden, call):
    g = golden("avid")
    positive, negative, z = g[f"nce/pos{call}"], g[f"nce/neg{call}"], g[f"nce/Z{call}"]
    c = contrastive.logistic(float(-np.log(negative.shape[1] * z[0])))

    c = contrastive.multi_positive(c) if call else c

    def mean(positive, negative):
        return loss(c, positive if call else positive[:, 0], negative, True).mean()

    value, grads = jax.value_and_grad(mean, (0, 1))(positive, negative)
    np.testing.assert_allclose(value, g[f"nce/loss{call}"], rtol=1e-6)
    if not call:
        np.testing.assert_allclose(grads[0], g["nce/dpos"], rtol=1e-5, atol=1e-8)
        np.testing.assert_allclose(grads[1], g["nce/dneg"], rtol=1e-5, atol=1e-8)


def test_partition_function_has_closed_form():
    dim, temperature, num_negatives = 128, 0.07, 1024
    x = jax.random.normal(jax.random.key(0), (50_064, dim))
    x = x / jnp.linalg.norm(x, axis=1, keepdims=True)
    measured = jnp.exp(x[:64] @ x[64:].T / temperature).mean()
    known = np.exp(-contrastive.nce_bias(num_negatives, dim, temperature)) / num_negatives
    np.testing.assert_allclose(measured, known, rtol=0.02)


FOLDS = [
    contrastive.info_nce(),
    contrastive.dcl(),
    contrastive.logistic(-3.0),
    score_metrics.score_statistics(),
]


@pytest.mark.parametrize("c", FOLDS)
def test_negatives_may_be_accumulated_in_parts(c):
    parts = [c.accumulate(SCORES[:, s], ALL[:, s], POSITIVE) for s in (slice(7), slice(7, None))]
    whole = c.accumulate(jnp.asarray(SCORES), ALL, POSITIVE)
    np.testing.assert_allclose(c.merge(*parts), whole, rtol=1e-5)


@pytest.mark.parametrize("c", FOLDS)
def test_masked_negatives_do_not_count(c):
    mask = ALL.at[:, 5:].set(False)
    got = loss(c, POSITIVE, SCORES, mask)
    np.testing.assert_allclose(got, loss(c, POSITIVE, SCORES[:, :5], mask[:, :5]), rtol=1e-6)


@pytest.mark.parametrize("c", FOLDS[:3])
def test_score_grad_equals_autodiff(c):
    def total(scores):
        return c.accumulate(scores, ALL, POSITIVE)

    want = jax.grad(lambda s: total(s).sum())(jnp.asarray(SCORES))
    got = c.score_grad(SCORES, total(jnp.asarray(SCORES))[:, None], POSITIVE[:, None])
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_dcl_excludes_positive_from_sum():
    want = np.log(np.exp(SCORES.astype(float)).sum(1)) - POSITIVE
    np.testing.assert_allclose(loss(contrastive.dcl(), POSITIVE, SCORES), want, rtol=1e-5)


def test_several_positives_have_equal_weight():
    c, positive = contrastive.info_nce(), np.stack([POSITIVE, POSITIVE + 1, POSITIVE - 2], 1)
    want = np.mean([loss(c, p, SCORES) for p in positive.T], 0)
    np.testing.assert_allclose(
        loss(contrastive.multi_positive(c), positive, SCORES), want, rtol=1e-5
    )


def test_score_statistics_count():
    got = loss(score_metrics.score_statistics(), POSITIVE, SCORES)
    above = (SCORES > POSITIVE[:, None]).mean(1)
    np.testing.assert_allclose(got, np.stack([POSITIVE, SCORES.mean(1), above], 1), rtol=1e-5)


def test_tiny_loss_and_gradient_are_exact():
    c = contrastive.info_nce()
    f = lambda p: loss(c, p, jnp.zeros((1, 1)), jnp.ones((1, 1), bool))[0]
    value, grad = jax.value_and_grad(f)(jnp.array([35.0]))
    np.testing.assert_allclose(value, np.log1p(np.exp(-35.0)), rtol=1e-5)
    np.testing.assert_allclose(grad[0], -np.exp(-35.0), rtol=1e-5)


@pytest.mark.parametrize("c", FOLDS[:3])
def test_large_scores_do_not_overflow(c):
    for sign in (-100.0, 100.0):
        scores = jnp.full((1, 3), sign)
        f = lambda p, s=scores: loss(c, p, s, jnp.ones((1, 3), bool))[0]
        value, grad = jax.value_and_grad(f)(jnp.array([-sign]))
        assert np.isfinite(value) and np.isfinite(grad).all()


def test_learned_temperature_is_clipped_at_min_value_and_recovers():
    scale = learned_temperature(0.07, min_value=0.01)

    def temperature(logit_scale):
        return scale.apply({"logit_scale": logit_scale}, contrastive.info_nce())[0]

    np.testing.assert_allclose(temperature(scale.init()["logit_scale"]), 0.07, rtol=1e-6)
    np.testing.assert_allclose(temperature(jnp.float32(9.0)), 0.01, rtol=1e-6)
    # Lower temperatures are out of reach, higher ones are not.
    assert jax.grad(lambda x: temperature(x))(jnp.float32(9.0)) == 0
    assert jax.grad(lambda x: -temperature(x))(jnp.float32(9.0)) > 0
    assert jax.grad(temperature)(jnp.float32(2.0)) < 0


def test_learned_bias_replaces_fixed_bias():
    scale = learned_temperature(0.1, bias=-10.0)
    params = scale.init()
    temperature, c = scale.apply(params | {"bias": jnp.float32(-2.0)}, contrastive.logistic(-10.0))
    np.testing.assert_allclose(temperature, 0.1, rtol=1e-6)
    assert params["bias"] == -10 and c.bias == -2
    assert fixed_temperature(0.07).init() == {}


@pytest.mark.parametrize("make", [fixed_temperature, learned_temperature])
def test_zero_temperature_is_refused(make):
    with pytest.raises(ValueError, match="temperature=0"):
        make(0.0)
