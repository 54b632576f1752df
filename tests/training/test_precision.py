"""Convolutions that a device is made to get wrong in low precision, and what becomes of them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.nets.layers import conv
from avjax.nets.layers.conv import Conv2D, Conv3D
from avjax.training import precision
from avjax.types import Inherited, Method

BROKEN = (1, 1, 8, 8)  # The kernel of `second` in Net, and of nothing else.
right = conv.conv2d


class Net(nn.Module):
    """[B, H, W, 4] -> [B, 6]; each of the layers in its own precision."""

    dtypes: tuple[str, str, str] = ("bfloat16",) * 3

    @nn.compact
    def __call__(self, x, train: bool):
        first, second, third = self.dtypes
        x = Conv2D(8, (1, 1), dtype=first, name="first")(x)
        x = Conv2D(8, (1, 1), dtype=second, name="second")(x).astype(first)
        x = Conv2D(6, (1, 1), dtype=third, name="third")(nn.relu(x))
        return x.astype(jnp.float32).mean((1, 2))


def method(net):
    def init(rng, batch, size):
        return net.init(rng, batch["image"], False)["params"], {}

    def embed(params, state, batch):
        return net.apply({"params": params}, batch["image"], False)

    def loss(params, state, batch, rng):
        return jnp.square(embed(params, state, batch)).sum(), (state, {})

    return Method(init, loss, embed)


@pytest.fixture
def batch():
    x = np.random.RandomState(0).standard_normal((4, 9, 7, 4))
    return {"image": jnp.asarray(x, jnp.float32)}


def initialized(method, batch):
    """(params, state) of shapes that `init` gives, drawn by NumPy: XLA takes long to compile it."""
    shapes = jax.eval_shape(lambda: method.init(jax.random.key(0), batch, 0))
    rs = np.random.RandomState(1)
    return jax.tree.map(lambda a: rs.standard_normal(a.shape).astype(a.dtype), shapes)


def wrong_values(x, w, strides, pads):
    y = right(x, w, strides, pads)
    return jnp.full_like(y, jnp.nan) if (x.dtype, w.shape) == (jnp.bfloat16, BROKEN) else y


@jax.custom_vjp
def without_gradient(x, w):
    return right(x, w, (1, 1), ((0, 0), (0, 0)))


without_gradient.defvjp(
    lambda x, w: (without_gradient(x, w), (x, w)),
    lambda saved, dy: jax.tree.map(jnp.zeros_like, saved),
)


def no_gradient(x, w, strides, pads):
    if (x.dtype, w.shape) == (jnp.bfloat16, BROKEN):
        return without_gradient(x, w)
    return right(x, w, strides, pads)


def test_only_broken_convolution_runs_in_float32(monkeypatch, batch, capsys):
    monkeypatch.setattr(conv, "conv2d", wrong_values)
    params, state = initialized(method(Net()), batch)
    inherits = {"state/memory": Inherited(records=True)}
    ours = precision.with_float32_fallback(
        method(Net())._replace(inherits=inherits), params, state, batch
    )
    (line,) = capsys.readouterr().out.splitlines()
    assert "second (output not finite)" in line
    assert "first" not in line and "third" not in line
    expected = method(Net(("bfloat16", "float32", "bfloat16")))
    low, mixed, mine = (
        jax.jit(m.embed)(params, {}, batch) for m in (method(Net()), expected, ours)
    )
    assert not np.isfinite(low).any()
    np.testing.assert_array_equal(mine, mixed)
    grads, wanted = (
        jax.jit(jax.grad(m.loss, has_aux=True))(params, {}, batch, None)[0]
        for m in (ours, expected)
    )
    jax.tree.map(np.testing.assert_array_equal, grads, wanted)
    again = jax.eval_shape(lambda: ours.init(jax.random.key(0), batch, 0)[0])
    assert jax.tree.map(jnp.shape, again) == jax.tree.map(jnp.shape, params)
    assert ours.refresh is None and ours.extract is None and ours.inherits is inherits


def second():
    """The form of the layer `second`."""
    params, x = {"kernel": BROKEN}, (2, 9, 7, 8)
    return precision.ConvSpec(Conv2D(8, (1, 1), dtype="bfloat16"), params, x, jnp.dtype("bfloat16"))


def test_wrong_gradient_is_detected(monkeypatch):
    monkeypatch.setattr(conv, "conv2d", no_gradient)
    assert precision.conv_error(second()) == "kernel's gradient off by 100%"


def refusing(words):
    """In place of `precision._jit_relative_errors`: a device on which nothing compiles."""

    def refuse(*arrays):
        raise jax.errors.JaxRuntimeError(words)

    return lambda form: refuse


def test_compile_failure_is_reported_with_device_error(monkeypatch):
    monkeypatch.setattr(
        precision, "_jit_relative_errors", refusing("INTERNAL: no valid config found\nand more")
    )
    assert precision.conv_error(second()) == "fails: INTERNAL: no valid config found"


def test_out_of_memory_is_not_blamed_on_convolution(monkeypatch):
    monkeypatch.setattr(
        precision, "_jit_relative_errors", refusing("RESOURCE_EXHAUSTED: out of memory")
    )
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
        precision.conv_error(second())


def test_correct_device_changes_nothing(batch, capsys):
    ours = method(Net())
    assert precision.with_float32_fallback(ours, *initialized(ours, batch), batch) is ours
    assert not capsys.readouterr().out


def test_float32_net_is_not_checked(batch):
    ours = method(Net(("float32",) * 3))
    args = *initialized(ours, batch), batch, jax.random.key(0)
    assert precision.low_precision_convs(ours.loss, *args) == []


class Twins(nn.Module):
    """Two layers alike, one that has a bias too, and a matrix product."""

    @nn.compact
    def __call__(self, x, train: bool):
        for name in ("a", "b"):
            x = Conv2D(4, (1, 1), dtype="float16", name=name)(x)
        x = conv.Conv2D(4, (1, 1), dtype="float16", use_bias=True, name="c")(x)
        return nn.Dense(5, dtype="float16")(x).astype(jnp.float32).mean((1, 2))


def test_equal_layers_are_checked_once(batch):
    ours = method(Twins())
    found = precision.low_precision_convs(
        ours.loss, *initialized(ours, batch), batch, jax.random.key(0)
    )
    # The first gets its input in another precision.
    assert [paths for _, paths in found] == [["a"], ["b"], ["c"]]
    half = {"image": batch["image"].astype(jnp.float16)}
    args = *initialized(ours, half), half, jax.random.key(0)
    found = precision.low_precision_convs(ours.loss, *args)
    assert [paths for _, paths in found] == [["a", "b"], ["c"]]
    assert [precision.conv_error(form) for form, _ in found] == ["", ""]


def test_correct_stem_is_within_tolerance():
    """The kernel with the longest sums for its gradient."""
    stem = Conv3D(8, (3, 7, 7), (1, 2, 2), dtype="bfloat16")
    x = jax.ShapeDtypeStruct((2, 8, 33, 33, 3), jnp.float32)
    variables = jax.eval_shape(stem.init, jax.random.key(0), x)
    ((form, paths),) = precision.low_precision_convs(stem.apply, variables, x)
    assert paths == [""] and precision.conv_error(form) == ""
