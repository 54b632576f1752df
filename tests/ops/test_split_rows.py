"""Rows of a split memory are exchanged, bit-equal to those of a whole one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec as P

from avjax.losses import contrastive, memory_bank
from avjax.ops.split_rows import take_rows
from avjax.runtime import sharding

AXIS = sharding.AXES
RANDOM = np.random.default_rng(0)


@functools.cache
def taking(fsdp):
    return jax.jit(functools.partial(take_rows, axis=AXIS))


@pytest.mark.parametrize("fsdp", [1, 2])
@pytest.mark.parametrize(
    "index",
    [
        RANDOM.integers(0, 64, (8, 33)),
        np.full((8, 33), 63),  # All from one device: several rounds.
        np.arange(264).reshape(8, 33) % 48,  # None from the last device.
    ],
    ids=["random", "one device", "three devices"],
)
def test_rows_are_those_of_a_whole_memory(fsdp, index):
    mesh, rows = sharding.mesh(fsdp=fsdp), RANDOM.normal(size=(64, 5)).astype(np.float32)
    with jax.set_mesh(mesh):
        split = [jax.device_put(x, NamedSharding(mesh, P(AXIS))) for x in (rows, index)]
        got = taking(fsdp)(*split)
    np.testing.assert_array_equal(got, rows[index])


def test_loss_against_split_memory_is_that_of_a_whole_one():
    key, query = jax.random.split(jax.random.key(0))
    query, index = jax.random.normal(query, (8, 4)), jnp.arange(8) * 7

    def of(axis):
        bank = memory_bank.make(num_negatives=6, axis=axis)
        memory = bank.init(key, 60, 4)
        loss = lambda q: bank.loss(memory, q, q, index, key, contrastive.info_nce()).sum()
        return jax.jit(lambda q: (*jax.value_and_grad(loss)(q), bank.update(memory, q, index)))

    with jax.set_mesh(sharding.mesh()):
        jax.tree.map(np.testing.assert_array_equal, of(AXIS)(query), of(None)(query))


def test_what_does_not_split_is_refused():
    rows, index = jnp.zeros((8, 2)), jnp.zeros(6, int)
    with pytest.raises(ValueError, match="axis='data': no mesh with this axis"):
        take_rows(rows, index, "data")
    with jax.set_mesh(sharding.mesh()), pytest.raises(ValueError, match="6 queries do not split"):
        take_rows(rows, index, "data")
