"""What only more devices than the suite's own can tell; prints one line of JSON.

Run by tests/ops/test_blockwise.py in a process of its own, with JAX_NUM_CPU_DEVICES=8.
"""

import json
import math
import re

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P

from avjax.losses import contrastive, memory_bank, negatives, queue
from avjax.runtime import sharding
from tests.ops import oracle
from tests.ops.test_blockwise import batch, gradients

C = contrastive.info_nce()


def exact():
    query, key = batch(0.7)
    loss, grads = gradients(negatives.ring(tile=16), C)(query, key, 0.07, 0.0)
    want, *slopes = oracle.both("info_nce", query, key, 0.07)
    far = [
        np.linalg.norm(np.asarray(a, float) - b) / np.linalg.norm(b) for a, b in zip(grads, slopes)
    ]
    return {"loss": abs(float(loss) / want - 1), "gradients": far[:3]}


def step(query, key, index):
    """The symmetric loss of a batch and its gradients."""

    def value(query, key):
        v2a, a2v = negatives.ring().symmetric_loss(query / 0.07, key, index, None, C)
        return v2a.mean() + a2v.mean()

    return jax.value_and_grad(value, (0, 1))(query, key)


def temporaries(mesh, b, d):
    """Bytes a device, by the compiler's own account."""
    split = NamedSharding(mesh, P("data"))
    z = jax.ShapeDtypeStruct((b, d), jnp.float32, sharding=split)
    index = jax.ShapeDtypeStruct((b,), jnp.int32, sharding=split)
    compiled = jax.jit(step, out_shardings=(None, (split, split))).lower(z, z, index).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def products(b, d):
    """Multiplications and additions of a device's matmuls, in 2 B B D / devices.

    Counted in the program itself: a compiler's own count takes a loop's body once.
    """

    def walk(jaxpr):
        total = 0
        for e in jaxpr.eqns:
            times = e.params.get("length", 1) if e.primitive.name == "scan" else 1
            inner = jax.extend.core.jaxprs_in_params(e.params)
            total += times * sum(walk(getattr(j, "jaxpr", j)) for j in inner)
            if e.primitive.name == "dot_general":
                over = e.params["dimension_numbers"][0][0]
                deep = math.prod(e.invars[0].aval.shape[i] for i in over)
                total += 2 * deep * e.outvars[0].aval.size
        return total

    shapes = [jax.ShapeDtypeStruct((b, d), jnp.float32)] * 2
    program = jax.make_jaxpr(step)(*shapes, jax.ShapeDtypeStruct((b,), jnp.int32))
    return walk(program.jaxpr) / (2 * b * b * d / 8)


def gathered(mesh, source, size):
    """Bytes of a sharded memory and of the largest array that devices exchange for a step of it."""
    memory = jax.eval_shape(lambda r: source.init(r, size, 128), jax.random.key(0))
    rules = (("rows|keys", ("data",)), (".*", ()))
    places = sharding.shardings_from_rules(memory, mesh, rules)
    memory = jax.tree.map(
        lambda x, p: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=p), memory, places
    )

    def step(memory, query, key, index, rng):
        loss, dq = jax.value_and_grad(
            lambda q: source.loss(memory, q / 0.07, key, index, rng, C).mean()
        )(query)
        return loss, dq, source.update(memory, key, index)

    split = NamedSharding(mesh, P("data"))
    z = jax.ShapeDtypeStruct((64, 128), jnp.float32, sharding=split)
    index = jax.ShapeDtypeStruct((64,), jnp.int32, sharding=split)
    rng = jax.eval_shape(lambda: jax.random.key(0))
    out = jax.jit(step, out_shardings=(None, split, places)).lower(memory, z, z, index, rng)
    moved = [
        4 * math.prod(int(n) for n in shape.split(","))
        for line in out.compile().as_text().splitlines()
        if (found := re.search(r" = (.*?) (all-\w+|collective-permute)(-start)?\(", line))
        for shape in re.findall(r"\[([\d,]+)\]", found[1])
    ]
    largest = max(moved)
    whole = max(x.size * x.dtype.itemsize for x in jax.tree.leaves(memory))
    return {"largest": largest, "memory": whole}


def main():
    mesh = sharding.mesh()
    with jax.set_mesh(mesh):
        found = exact() | {
            "d128": {b: temporaries(mesh, b, 128) for b in (4096, 16_384, 65_536, 2**18, 2**20)},
            "d768": {b: temporaries(mesh, b, 768) for b in (65_536, 2**17, 2**18, 2**20)},
            "products": products(8192, 128),
            "bank": gathered(mesh, memory_bank.make(16), 200_000),
            "shared": gathered(mesh, memory_bank.shared_negatives(256), 200_000),
            "queue": gathered(mesh, queue.make(65_536), 200_000),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    assert jax.device_count() == 8, jax.device_count()
    main()
