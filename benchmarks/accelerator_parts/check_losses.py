"""The tiled and the ring loss on this device against NumPy in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from avjax.losses import contrastive, negatives
from avjax.runtime import sharding
from benchmarks.accelerator_parts import report
from tests.ops import oracle

LOSSES = {
    "info_nce": contrastive.info_nce(),
    "dcl": contrastive.dcl(),
    "logistic": contrastive.logistic(-3.0),
}
BOUND, GRADIENT_BOUND = 1e-6, 1e-5  # Relative; those of tests/ops/test_blockwise.py.
TEMPERATURES = (0.07, 1.0)


def run(add, dry):
    """A row per loss, source of negatives and temperature."""
    size, dim, tile = (100, 16, 48) if dry else (2000, 128, 512)  # The last tile is smaller.
    query, key = batch(size, dim)
    sources = {"tiled": negatives.tiled(tile=tile), "ring": negatives.ring(tile=tile)}
    with jax.set_mesh(sharding.mesh(jax.devices()[:1])):
        for temperature in TEMPERATURES[: 1 if dry else 2]:
            for name in ("info_nce", "logistic") if dry else LOSSES:
                want = oracle.both(name, query, key, temperature, LOSSES[name].bias)
                for source, maker in sources.items():
                    names = {"loss": name, "negatives": source, "temperature": temperature}
                    measure = functools.partial(
                        errors, maker, name, query, key, temperature, want
                    )  # fmt: skip
                    report.attempt(add, "losses against float64", names, measure)


def batch(size, dim):
    """Queries and keys of unit length, each pair more alike than others."""
    rng = np.random.default_rng(0)
    query = unit(rng.normal(size=(size, dim)))
    key = unit(query + 0.7 * unit(rng.normal(size=(size, dim))))
    return query.astype(np.float32), key.astype(np.float32)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def errors(source, name, query, key, temperature, want):
    """Relative errors of the loss and of the worst gradient, in float32."""
    rows, loss_fn = jnp.arange(len(query)), LOSSES[name]

    def value(query, key, temperature):
        v2a, a2v = source.symmetric_loss(query / temperature, key, rows, None, loss_fn)
        return (v2a.mean() + a2v.mean()) / 2

    grad = jax.jit(jax.value_and_grad(value, (0, 1, 2)))
    loss, gradients = jax.device_get(grad(query, key, jnp.float32(temperature)))
    true, *slopes = want
    far = [relative(a, b) for a, b in zip((loss, *gradients), (true, *slopes[:3]))]
    passed = far[0] <= BOUND and max(far[1:]) <= GRADIENT_BOUND
    return {
        "loss is off by": far[0],
        "gradients are off by": max(far[1:]),
        "bounds": f"{BOUND:g}, {GRADIENT_BOUND:g}",
        "passed": bool(passed),
    }


def relative(got, want):
    """The distance of two arrays, relative to the length of the second; inf for NaN."""
    want = np.asarray(want, np.float64)
    far = np.linalg.norm(np.asarray(got, np.float64) - want) / np.linalg.norm(want)
    return float(far) if np.isfinite(far) else float("inf")
