"""What a training step costs, told by the program the compiler made of it."""

import jax

from avjax.config.build import build
from avjax.data import pipeline
from avjax.nets import flops
from avjax.runtime import sharding
from avjax.training import state, train


def step(config: dict) -> dict:
    """{"flops", "temporaries", "peak"} of one step of a run, compiled ahead of time, not run.

    flops:        of all devices.  XLA counts the body of a loop once; what its products and
                  convolutions do more than once is counted in the traced program and added.
    temporaries:  bytes a device needs besides arguments and results.
    peak:         bytes of arguments, results and temporaries of a device.
    """
    mesh = sharding.mesh()
    with jax.set_mesh(mesh):
        shapes, batch, places = arguments(config, mesh)
        tx = build(config["optimizer"])
        traced = train.make_step(train.made(config), tx, places, mesh).trace(shapes, batch)
        compiled = traced.lower().compile()
    memory = compiled.memory_analysis()
    whole = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return {
        "flops": compiled.cost_analysis()["flops"] * mesh.size + looped(traced.jaxpr),
        "temporaries": memory.temp_size_in_bytes,
        "peak": whole - memory.alias_size_in_bytes + memory.temp_size_in_bytes,
    }


def arguments(config: dict, mesh):
    """(state, batch, places) of a run's step: shapes that say where they lie."""
    method, tx = train.made(config), build(config["optimizer"])
    data = build(config["data"]["train"])
    size = len(data["source"])
    stream = pipeline.train_batches(**data, **train.learning(config, method), stop=1)
    batch = sharding.put(next(stream), mesh)
    stream.close()
    init, rng = state.initializer(method, tx, size), jax.random.key(config["seed"])
    shapes, places = state.abstract(init, rng, batch, mesh, config["sharding"])
    shapes = jax.tree.map(
        lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes, places
    )
    return shapes, batch, places


def looped(jaxpr) -> float:
    """FLOPs of products and convolutions in loops, beyond the one turn that XLA counts."""
    return products(jaxpr, loops=True) - products(jaxpr, loops=False)


def products(jaxpr, loops: bool) -> float:
    """FLOPs of the products and convolutions of a program; a loop's as often as it turns.

    loops: False counts one turn of each.  Of the branches of a condition the largest counts.
    The turns of a `while` are not known: one is counted.
    """
    total = 0.0
    for eqn in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        name, inner = eqn.primitive.name, list(flops.sub_jaxprs(eqn.params))
        if name == "cond":
            total += max(products(branch, loops) for branch in inner)
        else:
            times = eqn.params["length"] if name == "scan" and loops else 1
            if name == "shard_map":  # Its program is that of one device.
                times = eqn.params["mesh"].size
            total += times * sum(products(part, loops) for part in inner)
            total += 2.0 * flops.eqn_macs(eqn)
    return total
