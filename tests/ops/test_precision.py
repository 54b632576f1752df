"""Scores have one precision, whatever makes them and whatever the device's default is."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax import lax

from avjax.losses import contrastive, memory_bank, negatives, queue
from avjax.losses.temperature import fixed_temperature
from avjax.methods import avid, cma, moco, sscl
from avjax.nets import flops
from avjax.ops import kmeans, nearest_neighbors
from avjax.runtime import sharding

B, D, SIZE = 8, 4, 16
HIGHEST = (lax.Precision.HIGHEST,) * 2
TOWERS = ("encoders_video", "encoders_audio")
SOURCES = {
    "in_batch": negatives.in_batch(),
    "in_batch, drawn": negatives.in_batch(3),
    "tiled": negatives.tiled(tile=4),
    "tiled, drawn": negatives.tiled(3, tile=4),
    "ring": negatives.ring(tile=2),
    "bank": memory_bank.make(3),
    "shared": memory_bank.shared_negatives(3),
    "queue": queue.make(B),
    "queue, drawn": queue.make(B, 3),
}


class Table(nn.Module):
    """Towers whose embeddings are parameters: all products of a loss are then its own."""

    @nn.compact
    def __call__(self, batch, train: bool):
        made = nn.initializers.normal()
        names = [name for name in TOWERS if name.split("_")[1] in batch]
        z = {name.split("_")[1]: self.param(name, made, (B, D)) for name in names}
        return {m: {"features": x, "embedding": x} for m, x in z.items()}


def products(jaxpr):
    """The precision of each product in a jaxpr and in those within it."""
    for eqn in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        if eqn.primitive.name == "dot_general":
            yield eqn.params["precision"]
        for inner in flops.sub_jaxprs(eqn.params):
            yield from products(inner)


def check(fn, *args):
    """How many products `fn` has, all of which must be of full float32."""
    found = list(products(jax.make_jaxpr(fn)(*args)))
    assert found and set(found) == {HIGHEST}, found
    return len(found)


def batch():
    index = jnp.arange(B, dtype=jnp.int32)
    return {"video": jnp.zeros((B, 1)), "audio": jnp.zeros((B, 1)), "index": index}


def check_method(method):
    """Checks a method's loss and its gradient."""
    rng, here = jax.random.key(0), batch()
    params, state = method.init(rng, here, SIZE)
    loss = lambda params: method.loss(params, state, here, rng)[0]
    assert check(jax.grad(loss), params) > check(loss, params)


@pytest.mark.parametrize("loss", ["info_nce", "dcl", "logistic"])
@pytest.mark.parametrize("name", SOURCES)
def test_scores_of_every_negatives_source_use_full_float32(name, loss):
    source, rng = SOURCES[name], jax.random.key(0)
    c = contrastive.logistic(-3.0) if loss == "logistic" else getattr(contrastive, loss)()
    memory, index = source.init(rng, SIZE, D), jnp.arange(B)
    z = jax.random.normal(rng, (2, B, D))

    def value(query, key):
        return source.loss(memory, query, key, index, rng, c).mean()

    with jax.set_mesh(sharding.mesh()):
        assert check(jax.grad(value, (0, 1)), *z) > check(value, *z)


@pytest.mark.parametrize("name", ["in_batch", "bank", "shared", "queue"])
def test_scores_of_avid_use_full_float32(name):
    scale = fixed_temperature(0.1)
    check_method(
        avid.make(Table(), SOURCES[name], contrastive.info_nce(), {"v2a": 1, "a2v": 1}, scale)
    )


def test_scores_of_cma_and_positive_sets_use_full_float32():
    terms = {"inst-v2a": 1, "inst-a2v": 1, "pos-v2v": 1, "pos-a2a": 1}
    method = cma.make(
        Table(), "consensus", 2, terms, num_negatives=4, within_modal_negatives=2, temperature=0.1
    )
    check_method(method)
    params, state = method.init(jax.random.key(0), batch(), SIZE)
    check(lambda state: method.refresh(params, state, jax.random.key(0), ()), state)


def test_scores_of_moco_use_full_float32():
    check_method(moco.make(Table(), B, contrastive.info_nce(), {"v2a": 1, "a2v": 1}, 0.1, 0.9))


def test_scores_of_sscl_use_full_float32():
    sizes = dict(num_negatives=3, momentum=0.5, loss_fn=contrastive.info_nce(), temperature=0.1)
    share = lambda step: 0.5
    check_method(sscl.stage_one(Table(), "audio", **sizes, keep_fraction=share))
    check_method(sscl.stage_two(Table(), **sizes, structure_weight=1.0, keep_fraction=share))


def test_distances_of_kmeans_use_full_float32():
    fit = functools.partial(kmeans.fit, k=3)
    check(fit, jax.random.key(0), jnp.zeros((SIZE, D)), jnp.ones(SIZE, bool))


@pytest.mark.parametrize("agreement", nearest_neighbors.CRITERIA)
def test_memory_similarities_use_full_float32(agreement):
    rows = {m: jnp.zeros((SIZE, D)) for m in ("video", "audio")}
    check(lambda rows: nearest_neighbors.top_k_rows(rows, SIZE, 2, agreement), rows)


def test_product_of_default_precision_is_detected():
    with pytest.raises(AssertionError):
        check(lambda a: jax.jit(lambda a: a @ a.T)(a), jnp.zeros((2, 2)))
