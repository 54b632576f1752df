"""Statistics of the scores in the pass of the loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.losses import contrastive, memory_bank, negatives, queue, score_metrics
from avjax.runtime import sharding

B, D, TAU = 16, 8, 0.2
SOURCES = {
    "in_batch": negatives.in_batch(),
    "in_batch-4": negatives.in_batch(4),
    "tiled": negatives.tiled(tile=6),
    "tiled-4": negatives.tiled(4, tile=6),
    "ring": negatives.ring(tile=3),
    "ring-4": negatives.ring(4, tile=3),
    "bank": memory_bank.make(5),
    "queue": queue.make(20, 7),
}
LOSSES = {"info_nce": contrastive.info_nce(), "logistic": contrastive.logistic(-1.5)}
CASES = [(name, "logistic") for name in SOURCES] + [("in_batch", "info_nce"), ("tiled", "info_nce")]


@pytest.mark.parametrize(("name", "loss"), CASES)
def test_loss_with_statistics_is_the_loss_and_the_statistics(name, loss):
    """Also the gradients; scores without temperature and bias; a record occurs twice."""
    source, loss_fn, rng = SOURCES[name], LOSSES[loss], jax.random.key(2)
    query, key = jax.random.normal(jax.random.key(0), (2, B, D))
    index = jnp.arange(B).at[3].set(7)
    memory = source.init(jax.random.key(1), 40, D)

    def terms(query, key, loss_fn):
        if source.symmetric_loss:
            return source.symmetric_loss(query, key, index, rng, loss_fn)
        return (source.loss(memory, query, key, index, rng, loss_fn),)

    def alone(query, key):
        return sum(x.sum() for x in terms(query / TAU, key, loss_fn))

    def watched(query, key):
        both = terms(query / TAU, key, score_metrics.with_statistics(loss_fn, TAU))
        return sum(x.sum() for x, _ in both), [found for _, found in both]

    with jax.set_mesh(sharding.mesh()):
        want = jax.jit(jax.value_and_grad(alone, (0, 1)))(query, key)
        (total, found), gradients = jax.jit(jax.value_and_grad(watched, (0, 1), has_aux=True))(
            query, key
        )
        plain = jax.jit(lambda: terms(query, key, score_metrics.score_statistics()))()
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    jax.tree.map(close, want, (total, gradients))
    jax.tree.map(close, list(plain), found)


def test_statistics_have_no_gradient():
    loss_fn = score_metrics.with_statistics(contrastive.info_nce(), TAU)
    query, key = jax.random.normal(jax.random.key(0), (2, B, D))
    for name in ("in_batch", "tiled"):
        take = lambda q, k: sum(
            s.sum()
            for _, s in SOURCES[name].symmetric_loss(q, k, jnp.arange(B), None, loss_fn)  # noqa: B023
        )
        for gradient in jax.grad(take, (0, 1))(query, key):
            assert not np.any(gradient)
