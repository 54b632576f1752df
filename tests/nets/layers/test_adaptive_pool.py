import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.nets.layers.adaptive_pool import adaptive_average_pool, adaptive_max_pool

POOLS = {adaptive_max_pool: np.max, adaptive_average_pool: np.mean}


def defined(reduce, x, sizes):
    """PyTorch's definition: output i of M covers floor(i N / M) up to ceil((i + 1) N / M)."""
    out = np.empty((len(x), *sizes, x.shape[-1]))
    for place in itertools.product(*(range(size) for size in sizes)):
        window = tuple(
            slice(int(np.floor(i * n / m)), int(np.ceil((i + 1) * n / m)))
            for i, n, m in zip(place, x.shape[1:-1], sizes)
        )
        axes = tuple(range(1, len(sizes) + 1))
        out[(slice(None), *place)] = reduce(x[(slice(None), *window)], axes)
    return out


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(
    "shape, sizes",
    [
        ((50, 65), (12, 12)),
        ((13, 17), (4, 4)),
        ((7, 7), (4, 4)),
        ((3, 5), (4, 2)),
        ((4, 14, 15), (1, 6, 6)),
        ((5, 9, 7), (2, 8, 7)),
        ((86, 1, 1), (32, 1, 1)),
        ((31,), (8,)),
        ((3,), (8,)),
    ],
)
def test_windows_are_those_of_the_definition(pool, shape, sizes):
    x = np.random.default_rng(0).standard_normal((2, *shape, 3)).astype(np.float32)
    got = jax.jit(lambda x: pool(x, sizes))(x)
    np.testing.assert_allclose(got, defined(POOLS[pool], x.astype(float), sizes), atol=1e-6)


def test_means_of_16_bit_maps_are_in_float32():
    x = jnp.full((1, 301, 1), 1 + 2**-7, jnp.bfloat16)
    got = adaptive_average_pool(x, (1,))
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, 1 + 2**-7, rtol=1e-6)
    assert adaptive_max_pool(x, (2,)).dtype == jnp.bfloat16


@pytest.mark.parametrize("pool", POOLS)
def test_wrong_sizes_are_named(pool):
    with pytest.raises(ValueError, match=r"sizes=\(2, 2\) for a map of shape \(1, 4, 3\): give 1"):
        pool(jnp.zeros((1, 4, 3)), (2, 2))
    with pytest.raises(ValueError, match="sizes=0"):
        pool(jnp.zeros((1, 4, 3)), (0,))
