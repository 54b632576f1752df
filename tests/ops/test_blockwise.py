import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.losses import contrastive, negatives
from avjax.ops import scores
from avjax.runtime import sharding
from tests.ops import oracle

ROOT = pathlib.Path(__file__).parents[2]
LOSSES = {
    "info_nce": contrastive.info_nce(),
    "dcl": contrastive.dcl(),
    "logistic": contrastive.logistic(-3.0),
}
B, D = 200, 32


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def batch(noise, b=B):
    """Queries and keys; the less noise, the easier."""
    rng = np.random.default_rng(0)
    query = unit(rng.normal(size=(b, D)))
    key = unit(query + noise * unit(rng.normal(size=(b, D))))
    return query.astype(np.float32), key.astype(np.float32)


def gradients(source, c, index=None, rng=None):
    """A compiled (query, key, temperature, bias) -> (loss, gradients), both directions."""

    def value(query, key, temperature, bias):
        rows = jnp.arange(len(query)) if index is None else jnp.asarray(index)
        here = c._replace(bias=bias)
        v2a, a2v = source.symmetric_loss(query / temperature, key, rows, rng, here)
        return (v2a.mean() + a2v.mean()) / 2

    return jax.jit(jax.value_and_grad(value, (0, 1, 2, 3)))


def agree(got, want, name, temperature=1.0):
    """To 1e-6 and 1e-5, relative; a tiny loss of a softmax only as far as float32 tells scores.

    Its relative error is the absolute one of its scores, which reach 1 / temperature.
    """

    def off(a, b):
        return np.linalg.norm(np.asarray(a, np.float64) - b) / np.linalg.norm(b)

    (loss, grads), (true, *slopes) = got, want
    assert off(loss, true) < (1e-6 if abs(true) > 1e-3 else 1e-6 + 2**-24 / temperature)
    for a, b in zip(grads[:3], slopes[:3]):
        assert off(a, b) < 1e-5
    if name == "logistic":  # A softmax does not feel a bias.
        assert off(grads[3], slopes[3]) < 1e-5


@pytest.mark.parametrize("source", ["in_batch", "tiled"])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_gradients_match_float64(name, source):
    c = LOSSES[name]
    # 48 does not divide 200: the last tile is smaller.
    source = negatives.tiled(tile=48) if source == "tiled" else negatives.in_batch()
    f = gradients(source, c)
    for temperature in (0.01, 0.07, 1.0):
        for noise in (0.1, 0.7, 10.0):
            query, key = batch(noise)
            got = f(query, key, temperature, jnp.float32(c.bias))
            agree(got, oracle.both(name, query, key, temperature, c.bias), name, temperature)


@pytest.mark.parametrize("devices", [1, 2, 4])
@pytest.mark.parametrize("name", LOSSES)
def test_ring_does_not_depend_on_number_of_devices(name, devices):
    c = LOSSES[name]
    with jax.set_mesh(sharding.mesh(jax.devices()[:devices])):
        f = gradients(negatives.ring(tile=32), c)
        for temperature, noise in ((0.01, 0.7), (0.07, 0.1), (1.0, 10.0)):
            query, key = batch(noise)
            got = f(query, key, temperature, jnp.float32(c.bias))
            agree(got, oracle.both(name, query, key, temperature, c.bias), name, temperature)


@pytest.fixture(scope="module")
def eight():
    """What tests/ops/eight.py found on eight devices."""
    env = os.environ | {"JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"}
    out = subprocess.run(
        [sys.executable, "-m", "tests.ops.eight"],
        cwd=ROOT,
        env=env,
        check=True,
        capture_output=True,
    )
    return json.loads(out.stdout.splitlines()[-1])


def test_ring_on_eight_devices_matches_float64(eight):
    assert eight["loss"] < 1e-6
    assert max(eight["gradients"]) < 1e-5


def test_ring_never_holds_full_score_matrix(eight):
    memory = {int(b): size for b, size in eight["d128"].items()}
    assert memory[65_536] <= 32e6
    sizes = np.log(list(memory)), np.log(list(memory.values()))
    assert np.polyfit(*sizes, 1)[0] <= 1.05
    for b, most in {65_536: 0.22e9, 131_072: 0.43e9, 262_144: 0.86e9, 1_048_576: 3.4e9}.items():
        assert eight["d768"][str(b)] <= most


def test_ring_computes_four_products(eight):
    assert eight["products"] <= 4.1  # In B x B x D multiplications and additions a device.


def test_sharded_memory_is_never_gathered(eight):
    # The largest array that any device gets from others, against the memory's own size.
    for name in ("bank", "shared", "queue"):
        assert eight[name]["largest"] < eight[name]["memory"] / 8, name


@pytest.mark.parametrize("num_negatives", [1, 7, 100, B - 1])
@pytest.mark.parametrize("name", ["info_nce", "logistic"])
def test_tiled_sampling_equals_dense_sampling(name, num_negatives):
    c, (query, key) = LOSSES[name], batch(1.0)
    rng = jax.random.key(3)
    want = gradients(negatives.in_batch(num_negatives), c, rng=rng)(query, key, 0.07, c.bias)
    tiled = gradients(negatives.tiled(num_negatives, tile=19), c, rng=rng)(query, key, 0.07, c.bias)
    with jax.set_mesh(sharding.mesh()):
        ring = gradients(negatives.ring(num_negatives, tile=19), c, rng=rng)(
            query, key, 0.07, c.bias
        )
    for got in (tiled, ring):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6), got, want)


@pytest.mark.parametrize("num_negatives", [1, 5, 22])
def test_exact_number_of_negatives_is_sampled_uniformly(num_negatives):
    b = 23
    slots = jnp.arange(b)
    masks = [
        scores.negative_mask(slots, slots, (slots, slots), b, num_negatives, first)
        for first in range(b - 1)
    ]
    count = np.sum(masks, 0)
    for mask in masks:
        np.testing.assert_array_equal(mask.sum(0), num_negatives)
        np.testing.assert_array_equal(mask.sum(1), num_negatives)
    np.testing.assert_array_equal(count, num_negatives * (1 - np.eye(b, dtype=int)))
    firsts = {int(scores.band_offset(jax.random.key(i), b, num_negatives)) for i in range(300)}
    assert firsts == set(range(b - 1))


def test_clips_of_one_video_are_not_negatives():
    query, key = batch(1.0)
    index = np.arange(B) % 90
    c = LOSSES["info_nce"]
    want = oracle.both("info_nce", query, key, 0.07, index=index)
    for source in (negatives.in_batch(), negatives.tiled(tile=32)):
        agree(gradients(source, c, index)(query, key, 0.07, 0.0), want, "info_nce")


def test_too_many_negatives_are_refused():
    with pytest.raises(ValueError, match="num_negatives=8 of a batch of 8, which has 7 others"):
        scores.band_offset(jax.random.key(0), 8, 8)


def test_ring_requires_a_mesh():
    query, key = batch(1.0)
    with pytest.raises(ValueError, match=r"axis=\('data', 'fsdp'\): no mesh"):
        gradients(negatives.ring(), LOSSES["dcl"])(query, key, 0.07, 0.0)


def test_short_inputs_are_summed_in_float32():
    query, key = (x.astype(jnp.bfloat16) for x in batch(1.0))
    want = oracle.both("info_nce", query, key, 1.0)
    loss, grads = gradients(negatives.tiled(tile=64), LOSSES["info_nce"])(
        query, key, jnp.bfloat16(1.0), 0.0
    )
    np.testing.assert_allclose(loss, want[0], rtol=1e-5)
    for a, b in zip(grads[:2], want[1:3]):
        assert a.dtype == jnp.bfloat16
        assert np.linalg.norm(np.asarray(a, float) - b) / np.linalg.norm(b) < 0.01
