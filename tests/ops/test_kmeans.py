import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec as P

from avjax.ops import kmeans
from avjax.runtime import sharding

N, H, K = 400, 12, 10


def blobs(spread=0.2):
    """(rows [N, H], which blob [N]): K blobs whose middles are 5.7 apart."""
    label = np.arange(N) % K
    noise = np.random.default_rng(0).normal(size=(N, H))
    return (4 * np.eye(K, H)[label] + spread * noise).astype(np.float32), label


@functools.cache
def compiled(**how):
    return jax.jit(lambda rng, x, mask: kmeans.fit(rng, x, mask, **how))


agreement = jax.jit(kmeans.normalized_mutual_info, static_argnums=2)


def fit(seed, x, mask=None, **how):
    mask = np.ones(len(x), bool) if mask is None else mask
    return compiled(**how)(jax.random.key(seed), x, mask)


@functools.partial(jax.jit, static_argnames="block")
def lloyd(x, centers, most, block=256):
    mask = jnp.ones(len(x), bool)
    return kmeans.lloyd(jax.random.key(0), x, mask, centers, most, 0.0, block)


@pytest.mark.parametrize("block", [256, 4])
def test_centers_match_numpy_from_same_start(block):
    x = np.random.default_rng(0).normal(size=(N, H)).astype(np.float32)
    centers = want = x[:K]
    for _ in range(12):
        label = ((x[:, None].astype(float) - want[None]) ** 2).sum(-1).argmin(1)
        want = np.stack([x[label == c].mean(0, dtype=float) for c in range(K)])
    squares = ((x[:, None] - want[None]) ** 2).sum(-1)
    got = lloyd(x, centers, 12, block=block)
    np.testing.assert_allclose(got.centers, want, atol=1e-5)
    np.testing.assert_array_equal(got.labels, squares.argmin(1))
    np.testing.assert_allclose(got.inertia, squares.min(1).mean(), rtol=1e-5)
    assert got.n_iter == 12


def test_blobs_are_found_with_any_seed():
    x, label = blobs()
    for seed in range(20):
        found = np.asarray(fit(seed, x, k=K).labels)
        assert len({*zip(found.tolist(), label.tolist())}) == K == len({*found.tolist()}), seed


def test_initialization_samples_by_squared_distance():
    x = jnp.array([[0.0], [1.0], [3.0], [3.0], [7.0]])
    draw = jax.jit(jax.vmap(lambda r: kmeans.kmeans_plus_plus(r, x, jnp.ones(5, bool), 2, 1)[:, 0]))
    drawn = np.asarray(draw(jax.random.split(jax.random.key(0), 20_000)))
    values = np.unique(x)
    for first in values:
        of = drawn[drawn[:, 0] == first, 1]
        assert abs(len(of) / 20_000 - float((x == first).mean())) < 0.015
        weight = np.array([float((x == v).sum()) * (v - first) ** 2 for v in values])
        share = np.array([(of == v).mean() for v in values])
        np.testing.assert_allclose(share, weight / weight.sum(), atol=0.025)


def test_sampled_rows_are_distinct_and_unmasked():
    mask = np.arange(50) % 2 == 0
    rows = np.asarray(kmeans.sample_rows(jax.random.key(0), jnp.zeros(50), mask, 25))
    np.testing.assert_array_equal(np.sort(rows), np.arange(0, 50, 2))


def test_empty_cluster_is_reinitialized():
    x, _ = blobs()
    centers = np.concatenate([x[:1], 100 + np.arange((K - 1) * H, dtype=np.float32).reshape(-1, H)])
    assert {*np.asarray(lloyd(x, centers, 0).labels).tolist()} == {0}
    got = lloyd(x, centers, 50)
    assert {*np.asarray(got.labels).tolist()} == {*range(K)}
    assert got.inertia < lloyd(x, centers, 0).inertia / 2


@pytest.mark.parametrize("empty", [False, True])
def test_inertia_never_increases(empty):
    x = jax.random.normal(jax.random.key(1), (N, H))
    centers = jnp.concatenate([x[:5], x[5:K] + (100 if empty else 0)])
    fell = np.array([lloyd(x, centers, most).inertia for most in range(15)])
    assert (fell[1:] <= fell[:-1] * (1 + 1e-6)).all()
    assert fell[-1] < 0.9 * fell[0]


def test_more_clusters_than_distinct_rows_terminate():
    x = np.repeat(np.eye(3, H, dtype=np.float32), 4, 0)
    got = fit(0, x, k=5)
    assert got.inertia < 1e-6 and got.n_iter <= 100
    with pytest.raises(ValueError, match="13 clusters of 12 rows"):
        kmeans.fit(jax.random.key(0), x, np.ones(12, bool), 13)


def test_masked_rows_change_nothing():
    x, _ = blobs(spread=1.0)
    want = fit(3, x, k=K)
    more = np.concatenate([x, np.full((20, H), 1e4, np.float32)])
    got = fit(3, more, np.arange(N + 20) < N, k=K)
    np.testing.assert_array_equal(got.labels[N:], -1)
    np.testing.assert_array_equal(got.labels[:N], want.labels)
    np.testing.assert_allclose(got.centers, want.centers, atol=1e-5)


@pytest.fixture(scope="module")
def four():
    """(x, a fit compiled for rows split over four devices, what it found)."""
    x = np.random.default_rng(2).normal(size=(N, H)).astype(np.float32)
    mesh = sharding.mesh()
    assert mesh.size == 4
    with jax.set_mesh(mesh):
        split = NamedSharding(mesh, P("data"))
        args = jax.random.key(0), *(jax.device_put(a, split) for a in (x, np.arange(N) < N - 7))
        program = jax.jit(lambda r, x, m: kmeans.fit(r, x, m, K, block=4)).lower(*args).compile()
        return x, program, program(*args)


def test_one_device_and_four_agree(four):
    x, _, got = four
    want = fit(0, x, np.arange(N) < N - 7, k=K, block=4)
    np.testing.assert_array_equal(got.labels, want.labels)
    np.testing.assert_allclose(got.centers, want.centers, atol=1e-5)
    assert got.n_iter == want.n_iter


def test_devices_never_gather_the_rows(four):
    moved = [
        math.prod(map(int, shape.split(",")))
        for line in four[1].as_text().splitlines()
        if (found := re.search(r" = (.*?) (all-\w+|collective-permute)(-start)?\(", line))
        for shape in re.findall(r"\[([\d,]+)\]", found[1])
    ]
    # A number a row where rows are drawn, sums of the clusters, and nothing the size of x.
    assert max(moved) == N < N * H // 4


def test_normalized_mutual_information_matches_formula():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, 500), rng.integers(0, 4, 500)
    b = np.where(rng.random(500) < 0.5, a, b)
    joint = np.histogram2d(a, b, bins=4)[0] / 500
    rows, columns = joint.sum(1), joint.sum(0)
    mutual = (joint * np.log(joint / (rows[:, None] * columns[None]))).sum()
    entropy = [-(p * np.log(p)).sum() for p in (rows, columns)]
    got = agreement(jnp.asarray(a), jnp.asarray(b), 4)
    np.testing.assert_allclose(got, mutual / np.mean(entropy), rtol=1e-5)


def test_mutual_information_ignores_cluster_ids_and_unlabeled_rows():
    a = jnp.array([0, 0, 1, 1, 2, -1, 2])
    np.testing.assert_allclose(agreement(a, jnp.array([2, 2, 0, 0, 1, 1, -1]), 3), 1, rtol=1e-6)
    assert agreement(a, jnp.full(7, -1), 3) == 0
    assert agreement(a, jnp.zeros(7, int), 3) < 1e-6
