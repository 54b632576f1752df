import functools
from typing import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.losses import contrastive, negatives
from avjax.nets.audio import avid_convnet
from avjax.nets.forward import forward
from avjax.nets.frontends.pixels import Normalize
from avjax.nets.frontends.spectrogram import Spectrogram
from avjax.nets.layers import batch_independent_norm
from avjax.nets.layers.batch_norm import BatchNorm
from avjax.nets.layers.mlp import Mlp
from avjax.nets.towers import Towers
from avjax.nets.video import avid_r2plus1d

X = jax.random.normal(jax.random.key(0), (6, 3, 5, 8)) * 3 + 1


def test_group_normalizes_each_example_by_itself():
    norm = batch_independent_norm.group_norm(4)()
    y, _ = norm.init_with_output(jax.random.key(0), X, True)
    alone, _ = norm.init_with_output(jax.random.key(0), X[2:3], True)
    np.testing.assert_allclose(y[2:3], alone, atol=1e-6)
    parts = np.asarray(y).reshape(6, 15, 4, 2)
    np.testing.assert_allclose(parts.mean((1, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(parts.var((1, 3)), 1, rtol=1e-4)


def test_frozen_equals_batch_norm_in_evaluation():
    before = BatchNorm()
    variables = before.init(jax.random.key(0), X, True)
    _, new = before.apply(variables, X, True, mutable=["batch_stats"])
    variables = {"params": {"scale": jnp.arange(8.0), "bias": jnp.ones(8)}, **new}
    want = before.apply(variables, X, False)
    got, after = batch_independent_norm.frozen_batch_norm()().apply(
        variables, X, True, mutable=["batch_stats"]
    )
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, after["batch_stats"], new["batch_stats"])


class Video(nn.Module):
    """The stem of AVID's video net and no more, in float64."""

    norm: Callable

    @nn.compact
    def __call__(self, x, train: bool):
        return avid_r2plus1d.Stem(8, True, "float64", self.norm)(x, train).mean((1, 2, 3))


class Audio(nn.Module):
    """A block of AVID's audio net."""

    norm: Callable

    @nn.compact
    def __call__(self, x, train: bool):
        return avid_convnet.Block(8, 2, "float64", self.norm)(x[..., None], train).mean((1, 2))


def towers(norm):
    return Towers(
        frontends=dict(video=Normalize(), audio=Spectrogram(window=128, hop=80)),
        encoders=dict(video=Video(norm), audio=Audio(norm)),
        heads={m: Mlp((16, 8), dtype="float64") for m in ("video", "audio")},
    )


def batch(size=16):
    """Pictures of large squares and tones, unlike each other."""
    rng = np.random.default_rng(0)
    squares = rng.integers(0, 255, (size, 2, 4, 4, 3)).repeat(8, 2).repeat(8, 3)
    pitch = rng.uniform(100, 3000, (size, 1))
    tones = 8000 * np.sin(2 * np.pi * pitch * np.arange(2000) / 8000)
    return {
        "video": jnp.asarray(squares, jnp.uint8),
        "audio": jnp.asarray((tones + rng.normal(0, 200, tones.shape)) / 32768),
        "index": jnp.arange(size),
    }


@pytest.fixture(scope="module", params=["group", "frozen"])
def step(request):
    """chunks -> (loss, gradients) of AVID's nets; in float64, to tell a slip from rounding."""
    norm = {
        "group": batch_independent_norm.group_norm(2),
        "frozen": batch_independent_norm.frozen_batch_norm(),
    }[request.param]
    with jax.enable_x64(True):
        model, data = towers(norm), batch()
        variables = jax.jit(lambda r: model.init(r, data, train=False))(jax.random.key(0))
        variables = jax.tree.map(lambda x: x.astype(jnp.float64), variables)

    def loss(params, chunks):
        stats = {k: v for k, v in variables.items() if k != "params"}
        out, _ = forward(model, params, stats, data, train=True, chunks=chunks)
        video, audio = (out[m]["embedding"] for m in ("video", "audio"))
        both = negatives.tiled(tile=5).symmetric_loss(
            video / 0.1, audio, data["index"], None, contrastive.info_nce()
        )
        return sum(side.mean() for side in both)

    @functools.cache
    def run(chunks):
        with jax.enable_x64(True):
            both = jax.jit(jax.value_and_grad(loss), static_argnums=1)(variables["params"], chunks)
            return jax.device_get(both)  # As float64 also outside.

    return run


@pytest.mark.parametrize("chunks", [2, 4, 8])
def test_chunks_change_neither_loss_nor_gradients(step, chunks):
    (want, slopes), (got, grads) = step(1), step(chunks)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    far, size = (
        sum(np.square(leaf).sum() for leaf in jax.tree.leaves(tree))
        for tree in (jax.tree.map(np.subtract, grads, slopes), slopes)
    )
    assert (far / size) ** 0.5 < 1e-6
