"""A batch of one record: refused by what needs others, a plain loss where a memory has them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.losses import contrastive, memory_bank, negatives, queue, sampling
from avjax.losses.temperature import fixed_temperature
from avjax.methods import avid, avts, cma, l3, moco, sscl
from avjax.nets.layers.mlp import Mlp
from avjax.training import dry_run
from tests.methods.test_sscl import linear

SIZE, PAIR, EASY = 60, dict(v2a=1.0, a2v=1.0), ((0, (1.0, 0.0, 0.0)),)
LOSSES = {"info_nce": contrastive.info_nce(), "dcl": contrastive.dcl(), "nce": contrastive.nce()}
# Where negatives are those of the batch, and how many there are of a query.
OF_THE_BATCH = {
    "in_batch": negatives.in_batch(), "tiled": negatives.tiled(), "ring": negatives.ring(),
    "in_batch of 1": negatives.in_batch(1), "tiled of 1": negatives.tiled(1),
}  # fmt: skip
REMEMBERED = {
    "bank": memory_bank.make(4), "shared": memory_bank.shared_negatives(4), "queue": queue.make(8),
    "queue of 2": queue.make(8, num_negatives=2),
    "bank of any": memory_bank.make(4, sampler=sampling.sample_uniform),
}  # fmt: skip


def loss(method):
    """The loss of a batch of one record after initialization."""
    rows = np.random.default_rng(0).standard_normal((2, 1, 5)).astype(np.float32)
    batch = dict(video=jnp.asarray(rows[0]), audio=jnp.asarray(rows[1]), index=jnp.zeros(1, int))
    params, state = method.init(jax.random.key(0), batch, SIZE)
    return method.loss(params, state, batch, jax.random.key(1))[0]


def discriminating(source, name):
    return avid.make(linear(), source, LOSSES[name], PAIR, fixed_temperature(0.2))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("source", OF_THE_BATCH)
def test_one_record_is_refused_with_in_batch_negatives(source, name):
    method = discriminating(OF_THE_BATCH[source], name)
    with pytest.raises(ValueError, match="batch_size=1 .*--config.batch_size=2 or more"):
        jax.eval_shape(lambda: loss(method))


@pytest.mark.parametrize(
    "method",
    [
        l3.make(linear(), Mlp((4, 1)), l3.half_matched_pairs),
        l3.make(linear(), Mlp((4, 1)), l3.matched_and_mismatched_pairs),
        avts.make(linear(), 0.99, EASY),
        avts.make(linear(), 0.99, EASY, pairs=avts.matched_and_mismatched_pairs),
    ],
    ids=["l3 once", "l3 twice", "avts once", "avts twice"],
)
def test_one_record_is_refused_with_pairs_of_two_records(method):
    with pytest.raises(ValueError, match="batch_size=1 .*--config.batch_size=2 or more"):
        jax.eval_shape(lambda: loss(method))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("source", REMEMBERED)
def test_one_record_has_negatives_of_memory(source, name):
    value = loss(discriminating(REMEMBERED[source], name))
    assert np.isfinite(value) and value != 0


HOW = dict(loss_fn=LOSSES["dcl"], temperature=0.2)


@pytest.mark.parametrize(
    "method",
    [
        moco.make(linear(), 8, terms=PAIR, momentum=0.9, **HOW),
        sscl.stage_one(linear(), "video", 4, 0.5, **HOW),
        sscl.stage_two(linear(), 4, 0.5, structure_weight=1.0, **HOW),
        cma.make(linear(), "consensus", 4, {"inst-v2a": 1.0, "pos-v2v": 1.0}, 8, 4, 0.2),
    ],
    ids=["moco", "sscl taught", "sscl mutual", "cma"],
)
def test_one_record_has_negatives_in_every_method_with_a_memory(method):
    value = loss(method)
    assert np.isfinite(value) and value != 0


@pytest.mark.parametrize("source", [negatives.in_batch(), negatives.tiled(tile=2)])
@pytest.mark.parametrize("name", ["info_nce", "dcl"])
def test_batch_of_one_record_has_zero_loss_and_gradient(source, name):
    """An order of several copies of the records may have such a batch."""
    query, key = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 5)), jnp.float32)

    def mean(query, key, index):
        return sum(x.mean() for x in source.symmetric_loss(query, key, index, None, LOSSES[name]))

    value, grads = jax.value_and_grad(mean, (0, 1))(query, key, jnp.array([3, 3, 3, 3]))
    assert value == 0 and not any(grad.any() for grad in grads)
    value, grads = jax.value_and_grad(mean, (0, 1))(query, key, jnp.array([3, 3, 3, 5]))
    assert np.isfinite(value) and all(grad.any(1).all() for grad in grads)


@pytest.mark.parametrize("args", [dict(pairs=dict()), dict(curriculum=())])
def test_batch_of_clips_of_one_record_has_no_pairs(args):
    dry_run.check_negatives(args, 4, num_clips=2)
    with pytest.raises(ValueError, match="batch_size=2 with 2 clips .*batch_size=4 or more"):
        dry_run.check_negatives(args, 2, num_clips=2)
