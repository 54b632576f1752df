"""Unit length, and its gradient where there is none to have."""

import ast
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.losses import contrastive, memory_bank, negatives, queue
from avjax.nets.towers import Towers
from avjax.ops.normalize import l2_normalize

ROOT = pathlib.Path(__file__).parents[2] / "avjax"
RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((6, 8)).astype(np.float32)


@pytest.mark.parametrize("size", [1e-11, 1e-6, 1.0, 1e6, 1e15])
def test_rows_of_any_norm_are_normalized(size):
    x = np.float32(size) * ROWS
    want = x.astype(float) / np.linalg.norm(x.astype(float), axis=1, keepdims=True)
    np.testing.assert_allclose(l2_normalize(jnp.asarray(x)), want, rtol=3e-7)
    cubes = l2_normalize(jnp.asarray(x).reshape(2, 3, 8))
    np.testing.assert_allclose(cubes, want.reshape(2, 3, 8), rtol=3e-7)


@pytest.mark.parametrize("short", [0.0, 1e-14, 1e-30])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_zero_row_has_zero_gradient_and_does_not_affect_others(short, dtype):
    x = jnp.asarray(ROWS).at[2].set(short).astype(dtype)
    z, pull = jax.vjp(l2_normalize, x)
    assert z.dtype == x.dtype and np.isfinite(z).all()
    np.testing.assert_allclose(z[2], x[2].astype(jnp.float32) / 1e-12, rtol=1e-2)
    (grad,) = pull(jnp.ones_like(z))
    assert grad.dtype == x.dtype and not grad[2].any()
    alone = jnp.asarray(ROWS).astype(dtype)[jnp.array([0, 1, 3, 4, 5])]
    one, pull = jax.vjp(l2_normalize, alone)
    kept = jnp.array([0, 1, 3, 4, 5])
    np.testing.assert_array_equal(z[kept], one)
    np.testing.assert_array_equal(grad[kept], pull(jnp.ones_like(one))[0])


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_gradient_matches_finite_differences(size):
    x, out = size * ROWS[:1].astype(float), RNG.standard_normal((1, 8))

    def f(x):
        return (out * x / np.linalg.norm(x, axis=1, keepdims=True)).sum()

    step = 1e-5 * size * np.eye(8)[:, None]
    want = np.array([(f(x + s) - f(x - s)) / (2e-5 * size) for s in step])
    grad = jax.grad(lambda x: (out * l2_normalize(x)).sum())(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(grad[0], want, rtol=1e-4, atol=2e-6 / size)


def test_rows_of_bfloat16_are_summed_in_float32():
    x = jnp.ones((1, 4096), jnp.bfloat16).at[0, 0].set(64)
    want = jnp.bfloat16(1 / np.sqrt(4095 + 64**2))
    assert l2_normalize(x)[0, 1] == want


def identity(x, train):
    """As a front end, an encoder and a head."""
    return x


SOURCES = {
    "in_batch": negatives.in_batch(), "tiled": negatives.tiled(tile=4), "bank": memory_bank.make(5),
    "shared": memory_bank.shared_negatives(5), "queue": queue.make(8),
}  # fmt: skip


@pytest.mark.parametrize("source", SOURCES)
def test_zero_embedding_keeps_other_gradients_finite(source):
    parts = dict.fromkeys(("video", "audio"), identity)
    towers, fn = Towers(parts, parts, parts), SOURCES[source]
    memory = fn.init(jax.random.key(0), 20, 8)

    def loss(batch):
        z = {m: towers.apply({}, batch, train=True)[m]["embedding"] for m in parts}
        rng, index, c = jax.random.key(1), jnp.arange(6), contrastive.info_nce()
        each = fn.loss(memory, z["video"] / 0.1, z["audio"], index, rng, c)
        return each.mean(), fn.update(memory, z["video"], index)

    batch = {"video": jnp.asarray(ROWS).at[3].set(0.0), "audio": jnp.asarray(ROWS[::-1])}
    (value, moved), grads = jax.value_and_grad(loss, has_aux=True)(batch)
    assert np.isfinite(value) and all(np.isfinite(g).all() for g in grads.values())
    assert not grads["video"][3].any() and all(grads["video"][i].any() for i in (0, 1, 2, 4, 5))
    assert grads["audio"].any(1).all() == (
        fn.symmetric_loss is not None
    )  # A memory's keys have none.
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(moved))


def test_no_other_code_normalizes_vectors():
    """Batch norms add an epsilon to a variance and AVTS to a square; others measure a norm."""
    found = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("sqrt", "rsqrt", "norm"):
                if ast.unparse(node.value).split(".")[0] in ("jax", "jnp", "lax", "optax", "nn"):
                    found.add(path.relative_to(ROOT).as_posix())
    roots = {
        "ops/normalize.py",
        "nets/layers/batch_norm.py",
        "nets/layers/batch_independent_norm.py",
        "nets/layers/masked_batch_norm.py",
        "nets/layers/weight_norm_lstm.py",  # The length of a direction of weights.
        "losses/margin.py",
        "losses/relational.py",
    }
    assert found == roots | {"training/step.py", "ops/linear_svm.py"}
