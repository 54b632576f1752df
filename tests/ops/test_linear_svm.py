import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec as P
from sklearn.svm import LinearSVC

from avjax.ops import linear_svm
from avjax.runtime import sharding

N, H, K = 240, 10, 4


def overlapping():
    """(rows [N, H], class [N]): K classes that no line separates."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, K, N)
    return (rng.standard_normal((N, H)) + np.eye(K, H)[label]).astype(np.float32), label


@functools.cache
def compiled(**how):
    return jax.jit(lambda x, label, mask: linear_svm.fit(x, label, mask, K, **how))


def objective(x, label, weights, intercept, c):
    """The objective of each class in float64, by its definition."""
    x, w, b = (np.asarray(a, float) for a in (x, weights, intercept))
    sign = np.where(label[:, None] == np.arange(K), 1, -1)
    hinge = np.maximum(0, 1 - sign * (x @ w + b))
    return (w**2).sum(0) / 2 + b**2 / 2 + c * hinge.sum(0)


@functools.cache
def of_liblinear(c):
    x, label = overlapping()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return LinearSVC(C=c, loss="hinge", tol=1e-7, max_iter=10**6, random_state=0).fit(x, label)


@pytest.mark.parametrize("c", [1.0, 0.01])
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_solution_is_that_of_liblinear_on_any_number_of_devices(devices, c):
    x, label = overlapping()
    mesh = sharding.mesh(jax.devices()[:devices])
    split = NamedSharding(mesh, P("data"))
    rows = (jax.device_put(a, split) for a in (x, label, np.ones(N, bool)))
    with jax.set_mesh(mesh):
        got = compiled(c=c, tol=1e-5)(*rows)
    want = of_liblinear(c)
    assert (np.asarray(got.gap) < 1e-5).all()
    np.testing.assert_allclose(got.weights, want.coef_.T, atol=4e-3)
    np.testing.assert_allclose(got.intercept, want.intercept_, atol=4e-3)
    ours = objective(x, label, got.weights, got.intercept, c)
    np.testing.assert_allclose(ours, got.objective, rtol=1e-5)
    np.testing.assert_allclose(
        ours, objective(x, label, want.coef_.T, want.intercept_, c), rtol=3e-5
    )


def test_gap_bounds_the_distance_from_the_solution():
    x, label = overlapping()
    want = of_liblinear(1.0)
    best = objective(x, label, want.coef_.T, want.intercept_, 1.0)
    for steps in (25, 100):
        got = compiled(tol=1e-9, max_iter=steps)(x, label, np.ones(N, bool))
        far = ((got.weights - want.coef_.T) ** 2).sum(0) + (got.intercept - want.intercept_) ** 2
        assert got.n_iter == steps
        assert (np.asarray(got.objective * (1 - got.gap)) <= best * (1 + 1e-5)).all()
        assert (np.sqrt(far) <= np.sqrt(2 * got.gap * got.objective) + 1e-3).all()


def test_separable_rows_have_the_largest_margin():
    x, label = jnp.array([[2.0], [-2.0], [5.0], [-9.0]]), jnp.array([1, 0, 1, 0])
    got = linear_svm.fit(x, label, jnp.ones(4, bool), 2, c=100.0, tol=1e-6)
    np.testing.assert_allclose(got.weights[0], [-0.5, 0.5], rtol=1e-4)
    np.testing.assert_allclose(got.intercept, 0, atol=1e-4)
    np.testing.assert_allclose(got.objective, 0.125, rtol=5e-4)


def test_masked_rows_change_nothing():
    x, label = overlapping()
    mask = np.arange(N) % 4 > 0
    got = compiled(c=1.0)(np.where(mask[:, None], x, np.nan), np.where(mask, label, 2), mask)
    want = jax.jit(lambda: linear_svm.fit(x[mask], label[mask], jnp.ones(mask.sum(), bool), K))()
    np.testing.assert_allclose(got.weights, want.weights, atol=5e-3)
    np.testing.assert_allclose(got.objective, want.objective, rtol=1e-3)


def test_more_features_than_rows_and_a_class_without_rows():
    x, label = overlapping()
    wide = np.random.default_rng(1).standard_normal((40, 120)).astype(np.float32)
    got = compiled(c=1.0)(wide, label[:40] % 3, np.ones(40, bool))
    assert (np.asarray(got.gap) <= 1e-3).all()
    assert (np.argmax(wide @ got.weights + got.intercept[None], 1) == label[:40] % 3).all()
    assert (wide @ got.weights[:, 3] + got.intercept[3] < -0.9).all()
