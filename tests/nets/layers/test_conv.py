"""The fast forms of convolution and pooling against XLA's general ones, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from avjax.nets.layers import conv2d_kernels as pictures
from avjax.nets.layers.conv import Conv2D, conv2d, conv3d
from avjax.nets.layers.max_pool import max_pool
from avjax.nets.layers.mlp import Linear

CLIPS = ("NTHWC", "THWIO", "NTHWC")
SAME = None

# (input, kernel, strides, pads): odd sizes throughout, where asymmetric padding would show.
CASES = {
    "spatial": ((2, 3, 9, 8, 5), (1, 3, 3, 5, 4), (1, 1, 1), SAME),
    "spatial, strided": ((2, 3, 9, 8, 5), (1, 3, 3, 5, 4), (1, 2, 2), SAME),
    "temporal": ((2, 5, 4, 3, 5), (3, 1, 1, 5, 4), (1, 1, 1), SAME),
    "temporal, strided": ((2, 5, 4, 3, 5), (3, 1, 1, 5, 4), (2, 1, 1), SAME),
    "sound": ((2, 37, 1, 1, 1), (9, 1, 1, 1, 4), (4, 1, 1), SAME),
    "sound, taps to spare": ((2, 32, 2, 1, 3), (7, 1, 1, 3, 4), (3, 1, 1), SAME),
    "sound, valid": ((2, 35, 1, 1, 2), (9, 1, 1, 2, 4), (4, 1, 1), ((0, 0), (0, 0), (0, 0))),
    "pointwise": ((2, 5, 5, 4, 3), (1, 1, 1, 3, 6), (2, 2, 2), SAME),
    "stem": ((2, 4, 11, 12, 3), (3, 7, 7, 3, 4), (1, 2, 2), SAME),
    "full": ((2, 4, 7, 5, 6), (3, 3, 3, 6, 4), (1, 1, 1), SAME),
    "full, strided": ((2, 5, 7, 5, 6), (3, 3, 3, 6, 4), (2, 2, 2), SAME),
    "asymmetric": ((2, 4, 8, 8, 3), (3, 3, 3, 3, 4), (2, 2, 2), ((0, 1), (0, 1), (0, 1))),
    "valid": ((2, 4, 8, 8, 3), (1, 3, 3, 3, 4), (1, 2, 2), ((0, 0), (0, 0), (0, 0))),
    "small and deep": ((2, 1, 3, 3, 4), (1, 3, 3, 4, 32), (1, 1, 1), SAME),
    "small, deep, strided": ((2, 1, 5, 4, 4), (1, 3, 3, 4, 32), (1, 2, 2), SAME),
}


def drawn(*shapes):
    rs = np.random.RandomState(0)
    return [rs.standard_normal(shape) for shape in shapes]


def value_and_gradients(f, *args):
    """f(*args) and the gradients of its sum weighted at random."""
    shape = jax.eval_shape(f, *args)
    weights = np.random.RandomState(1).standard_normal(shape.shape).astype(shape.dtype)

    @jax.jit
    def run(*args):
        y, back = jax.vjp(f, *args)
        return y, *back(weights)

    return run(*args)


def reference(x, w, strides, pads):
    pads = [(k // 2, k // 2) for k in w.shape[:3]] if pads is None else pads
    return lax.conv_general_dilated(x, w, strides, pads, dimension_numbers=CLIPS)


def same(ours, theirs, tolerance=1e-12):
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=tolerance * np.abs(other).max())


@pytest.mark.parametrize("case", CASES)
def test_conv3d_matches_general_convolution(case):
    shape, kernel, strides, pads = CASES[case]
    with jax.enable_x64(True):
        x, w = drawn(shape, kernel)
        ours = value_and_gradients(lambda x, w: conv3d(x, w, strides, pads), x, w)
        same(ours, value_and_gradients(lambda x, w: reference(x, w, strides, pads), x, w))


@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (2, 1)])
@pytest.mark.parametrize("block_bytes", [1, 60_000, 1 << 30])
def test_weight_gradient_does_not_depend_on_block_size(monkeypatch, strides, block_bytes):
    """One band of rows at a time, one picture, or all: 37 rows divide into no even bands."""
    pads = ((1, 1), (1, 2))
    with jax.enable_x64(True):
        x, w = drawn((4, 37, 20, 3), (3, 3, 3, 5))
        dy = drawn(jax.eval_shape(lambda: pictures._plain(x, w, strides, pads)).shape)[0]
        ours = pictures._weight_gradient(jnp.asarray(x), dy, (3, 3), strides, pads, block_bytes)
        (theirs,) = jax.linear_transpose(lambda w: pictures._plain(x, w, strides, pads), w)(dy)
        same([ours], [theirs])


def test_conv2d_works_under_jax_transformations():
    """vmap, scan and checkpoint over it give what plain calls give, gradients too."""
    with jax.enable_x64(True):
        x, w = drawn((3, 2, 6, 5, 4), (3, 3, 4, 4))

        def one(x, w):
            return conv2d(x, w, (1, 1), ((1, 1), (1, 1)))

        def plain(xs, w):
            return jnp.stack([one(one(x, w), w) for x in xs])

        def layers(x, w):
            return lax.scan(lambda x, _: (jax.checkpoint(one)(x, w), None), x, length=2)[0]

        def mapped(xs, w):
            return jax.vmap(layers, in_axes=(0, None))(xs, w)

        same(value_and_gradients(mapped, x, w), value_and_gradients(plain, x, w))


@pytest.mark.parametrize(
    "case", ["spatial", "temporal, strided", "pointwise", "stem", "small and deep"]
)
def test_bfloat16_is_summed_in_float32(case):
    """Off by the rounding of inputs and outputs, not by that of thousands of sums."""
    shape, kernel, strides, pads = CASES[case]
    x, w = (jnp.asarray(a, jnp.bfloat16) for a in drawn((8, *shape[1:]), kernel))
    ours = value_and_gradients(lambda x, w: conv3d(x, w, strides, pads), x, w)
    assert {a.dtype for a in ours} == {jnp.dtype(jnp.bfloat16)}
    high = [a.astype(jnp.float32) for a in (x, w)]
    theirs = value_and_gradients(lambda x, w: reference(x, w, strides, pads), *high)
    same([a.astype(jnp.float32) for a in ours], theirs, 1e-2)


@pytest.mark.parametrize("layer", [Conv2D(4, (3, 3), use_bias=True), Linear(4)])
def test_gradient_of_a_bias_in_bfloat16_is_summed_in_float32(layer):
    """Of 4,096 places: a sum in bfloat16 is off by several per cent."""
    (x,) = drawn((4, 32, 32, 2))
    args = (x,) if isinstance(layer, Conv2D) else (x, False)
    variables = layer.init(jax.random.key(0), *args)

    def gradient(dtype):
        def loss(params):
            out = layer.clone(dtype=dtype).apply({"params": params}, *args)
            return (out.astype(jnp.float32) * jnp.asarray(slopes)).sum()

        return jax.jit(jax.grad(loss))(variables["params"])["bias"]

    (slopes,) = drawn((4, 32, 32, 4))
    slopes = np.asarray(jnp.asarray(slopes + 0.5, jnp.bfloat16), np.float32)
    same([gradient("bfloat16")], [gradient("float32")], 1e-5)


def test_consecutive_bfloat16_convolutions_approximate_float32():
    """Fused with what lies between and after them they have given NaN, see _unfused."""
    x, w = drawn((2, 18, 16, 256), (3, 3, 256, 256))

    def layers(x, w):
        for _ in range(2):
            x = jax.nn.relu(conv2d(x, w / 50, (1, 1), ((1, 1), (1, 1))))
        return x.max(2)

    low = jax.jit(layers)(*(jnp.asarray(a, jnp.bfloat16) for a in (x, w)))
    same([low.astype(jnp.float32)], [jax.jit(layers)(x, w)], 2e-2)


def test_accelerators_get_no_matmul_loops():
    """The CPU's form is chosen for the platform that is compiled for, here a TPU."""
    x, w = jnp.zeros((4, 8, 784, 64)), jnp.zeros((3, 1, 64, 64))

    def program(platform):
        grad = jax.jit(jax.grad(lambda w: conv2d(x, w, (1, 1), ((1, 1), (0, 0))).sum()))
        return grad.trace(w).lower(lowering_platforms=(platform,)).as_text()

    assert "while" in program("cpu")
    assert "while" not in program("tpu") and "dot_general" not in program("tpu")


POOLS = {
    "stem": ((2, 3, 9, 8, 4), (1, 3, 3), (1, 2, 2), None),
    "overlapping": ((2, 4, 5, 6, 3), (3, 3, 3), (1, 1, 1), None),
    "pictures": ((2, 9, 8, 4), (2, 2), (2, 2), ((0, 0), (0, 0))),
    "asymmetric": ((2, 4, 8, 7, 3), (3, 3, 3), (2, 2, 2), ((0, 1), (0, 1), (1, 1))),
    "with gaps": ((2, 9, 11, 4), (2, 1), (3, 2), ((0, 0), (0, 0))),
}


@pytest.mark.parametrize("case", POOLS)
@pytest.mark.parametrize("ties", [False, True])
def test_max_pool_matches_general_pooling(case, ties):
    """Of equal values the first gets the gradient, as in PyTorch."""
    shape, window, strides, pads = POOLS[case]
    full_pads = [(0, 0), *(pads or [(k // 2, k // 2) for k in window]), (0, 0)]

    def general(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *strides, 1), full_pads)

    with jax.enable_x64(True):
        (x,) = drawn(shape)
        x = np.maximum(np.round(x), 0) if ties else x
        ours = value_and_gradients(lambda x: max_pool(x, window, strides, pads), x)
        same(ours, value_and_gradients(general, x))
