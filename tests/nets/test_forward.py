import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.nets.forward import forward
from avjax.nets.layers.batch_norm import BatchNorm
from avjax.nets.layers.mlp import Mlp
from avjax.nets.towers import Towers
from avjax.runtime import sharding


class Encoder(nn.Module):
    """A tiny encoder; with `norm`, one that keeps batch statistics."""

    norm: bool = False

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.relu(nn.Dense(8)(x.reshape(x.shape[0], -1)))
        return BatchNorm()(x, train=train) if self.norm else x


class Front(nn.Module):
    def __call__(self, x, train: bool):
        return x.astype(jnp.float32) / 128


def towers(norm):
    names = ("video", "audio")
    return Towers(
        frontends={n: Front() for n in names},
        encoders={n: Encoder(norm) for n in names},
        heads={n: Mlp((8, 4)) for n in names},
    )


def batch(size=16):
    rng = np.random.default_rng(0)
    return {
        "video": rng.integers(0, 255, (size, 2, 3, 3, 3), np.uint8),
        "audio": rng.integers(-99, 99, (size, 20), np.int16),
        "index": np.arange(size, dtype=np.int32),
    }


def value_and_grad(model, variables, data, chunks):
    params, stats = variables.pop("params"), variables

    def loss(params):
        out, stats_out = forward(model, params, stats, data, train=True, chunks=chunks)
        scores = out["video"]["embedding"] @ out["audio"]["embedding"].T
        return jnp.sum(jnp.exp(scores)), (out, stats_out)

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)


def close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize("chunks", [2, 4])
def test_chunks_equal_the_full_batch(devices, chunks):
    model, mesh = towers(norm=False), sharding.mesh(jax.devices()[:devices])
    with jax.set_mesh(mesh):
        data = sharding.shard_batch(batch(), mesh)
        variables = jax.jit(lambda r: model.init(r, data, train=False))(jax.random.key(0))
        (want, (out, _)), grads = value_and_grad(model, dict(variables), data, 1)
        (got, (parts, _)), grads2 = value_and_grad(model, dict(variables), data, chunks)
    close(want, got, rtol=1e-6)
    close(out, parts, rtol=1e-5, atol=1e-6)
    close(grads, grads2, rtol=1e-4, atol=1e-5)


def test_batch_statistics_are_carried_through_chunks():
    model, data = towers(norm=True), jax.tree.map(jnp.asarray, batch())
    variables = model.init(jax.random.key(0), data, train=False)
    (_, (_, stats)), _ = value_and_grad(model, dict(variables), data, 2)
    part = lambda i: {k: v[8 * i : 8 * i + 8] for k, v in data.items()}
    params, want = variables["params"], {"batch_stats": variables["batch_stats"]}
    for i in range(2):
        _, want = forward(model, params, want, part(i), train=True)
    close(stats, want, rtol=1e-5, atol=1e-6)


def test_batch_not_divisible_by_chunks_is_refused():
    model, data = towers(norm=False), jax.tree.map(jnp.asarray, batch(15))
    variables = model.init(jax.random.key(0), data, train=False)
    with pytest.raises(ValueError, match="batch of 15"):
        value_and_grad(model, dict(variables), data, 2)


def test_embeddings_are_normalized_and_missing_modality_is_omitted():
    model, data = towers(norm=False), jax.tree.map(jnp.asarray, batch())
    out, _ = model.init_with_output(jax.random.key(0), data, train=False)
    for o in out.values():
        np.testing.assert_allclose(jnp.linalg.norm(o["embedding"], axis=1), 1, rtol=1e-5)
    data.pop("video")
    assert set(model.init_with_output(jax.random.key(0), data, train=False)[0]) == {"audio"}
