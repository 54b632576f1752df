"""Cosines that are integers: the same in any order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.ops import exact_cosine


def rows(seed, n, width):
    return np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32)


def by_integers(query, key):
    """The same with Python's integers, which have no limit."""
    return (query.astype(object) @ key.T.astype(object) >> 13).astype(np.int64)


@pytest.mark.parametrize("width", [1, 3, 64, 100])
def test_scores_are_the_exact_products(width):
    query, key = (exact_cosine.fixed_point(rows(seed, 9, width)) for seed in (0, 1))
    got = exact_cosine.exact_scores(query, key)
    assert got.dtype == jnp.int32
    np.testing.assert_array_equal(got, by_integers(query, key))


@pytest.mark.parametrize("value", [1.0, -1.0, 0.37])
def test_largest_sums_of_wide_rows_are_exact(value):
    """Equal coordinates give the largest partial sums; low parts of one sign do not cancel."""
    x = np.full((2, 20_000), value, np.float32)
    x[1, ::2] = 0
    x = exact_cosine.fixed_point(x)
    np.testing.assert_array_equal(exact_cosine.exact_scores(x, x), by_integers(x, x))
    lowest = np.full((1, 20_000), -512, np.int32)
    got = exact_cosine.exact_scores(lowest, lowest)
    np.testing.assert_array_equal(got, by_integers(lowest, lowest))


def test_cosines_differ_from_float64_by_rounding_only():
    query, key = rows(0, 50, 512), rows(1, 60, 512)
    got = exact_cosine.exact_scores(*(exact_cosine.fixed_point(7 * x) for x in (query, key)))
    query, key = (x / np.linalg.norm(x.astype(float), axis=1, keepdims=True) for x in (query, key))
    np.testing.assert_allclose(np.asarray(got) / exact_cosine.ONE, query @ key.T, atol=1e-6)


def test_order_of_columns_and_shape_of_block_change_no_bit():
    query, key = (exact_cosine.fixed_point(rows(seed, 33, 130)) for seed in (2, 3))
    whole = np.asarray(exact_cosine.exact_scores(query, key))
    order = np.random.default_rng(4).permutation(130)
    np.testing.assert_array_equal(exact_cosine.exact_scores(query[:, order], key[:, order]), whole)
    for i in (0, 32):
        one = exact_cosine.exact_scores(query[i : i + 1], key[i : i + 1])
        np.testing.assert_array_equal(one, whole[i : i + 1, i : i + 1])


def test_rows_of_zeros_stay_zero_and_too_wide_rows_are_refused():
    assert not exact_cosine.fixed_point(np.zeros((2, 5))).any()
    with pytest.raises(ValueError, match="width 70000: exact cosines take up to 65536"):
        exact_cosine.fixed_point(np.zeros((1, 70_000)))


def test_top_k_orders_negative_scores_and_marked_pairs():
    scores = np.random.default_rng(5).integers(-(2**29), 2**29, (6, 40)).astype(np.int32)
    scores[:, 3], scores[:, 4], scores[:, 5] = exact_cosine.LOWEST, 2**29 + 200, -(2**29) - 200
    found, places = jax.jit(exact_cosine.top_k, static_argnums=1)(scores, 40)
    np.testing.assert_array_equal(found, np.sort(scores, axis=1)[:, ::-1])
    np.testing.assert_array_equal(np.take_along_axis(scores, np.asarray(places), 1), found)
