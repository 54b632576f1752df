"""Losses in one call: against their formulas in NumPy."""

import doctest

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax import losses
from avjax.losses import contrastive, functional, margin, memory_bank, negatives

VIDEO, AUDIO = np.random.default_rng(0).normal(size=(2, 6, 5)).astype(np.float32)


def cosines():
    v, a = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (VIDEO, AUDIO))
    return v @ a.T


def logsumexp(x):
    return np.log(np.exp(x).sum(1))


def test_info_nce_matches_formula_in_both_directions():
    s = cosines() / 0.2
    want = np.mean([logsumexp(s) - np.diag(s), logsumexp(s.T) - np.diag(s)])
    np.testing.assert_allclose(losses.info_nce(VIDEO, AUDIO, 0.2), want, rtol=1e-5)


def test_dcl_excludes_positive_from_denominator():
    s = cosines() / 0.2
    others = np.where(np.eye(6, dtype=bool), -np.inf, s)
    want = np.mean([logsumexp(others) - np.diag(s), logsumexp(others.T) - np.diag(s)])
    np.testing.assert_allclose(losses.dcl(VIDEO, AUDIO, 0.2), want, rtol=1e-5)


def test_siglip_is_sum_over_pairs_divided_by_batch_size():
    s = cosines() / 0.1 - 10
    sign = 2 * np.eye(6) - 1
    want = np.log1p(np.exp(-sign * s)).sum() / 6
    np.testing.assert_allclose(losses.siglip(VIDEO, AUDIO), want, rtol=1e-5)


def test_tiled_loss_is_equal_and_temperature_has_gradient():
    tiled = losses.info_nce(VIDEO, AUDIO, 0.2, negatives.tiled(tile=4))
    np.testing.assert_allclose(tiled, losses.info_nce(VIDEO, AUDIO, 0.2), rtol=1e-6)
    slope = jax.grad(lambda t: losses.info_nce(jnp.array(VIDEO), jnp.array(AUDIO), t))(0.2)
    step = 1e-2
    ends = [losses.info_nce(VIDEO, AUDIO, 0.2 + d) for d in (-step, step)]
    np.testing.assert_allclose(slope, (ends[1] - ends[0]) / (2 * step), rtol=2e-2)


@pytest.mark.parametrize(
    "video, options, message",
    [
        (VIDEO[:5], {}, r"shapes \(5, 5\) and \(6, 5\)"),
        (VIDEO, dict(negatives=memory_bank.make(3)), "negatives of a memory"),
        (VIDEO, dict(negatives=negatives.in_batch(2)), "num_negatives=2"),
    ],
)
def test_shape_mismatch_is_refused(video, options, message):
    with pytest.raises(ValueError, match=message):
        losses.info_nce(video, AUDIO, **options)


def test_batch_of_one_is_refused():
    with pytest.raises(ValueError, match="is one record"):
        losses.info_nce(VIDEO[:1], AUDIO[:1])


@pytest.mark.parametrize("module", [contrastive, functional, margin, negatives])
def test_the_examples_run(module):
    found = doctest.testmod(module)
    assert found.attempted and not found.failed
