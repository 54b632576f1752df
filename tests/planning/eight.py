"""The plan of a run on eight devices beside the account of the run itself; prints JSON.

Run by tests/planning/test_plan.py in a process of its own: python -m tests.planning.eight WORLD.
"""

import json
import sys

import jax

from avjax.data import pipeline
from avjax.planning import loss_alone, plan, topology
from avjax.runtime import sharding
from avjax.training import experiment, state, step
from avjax.training.experiment import training_data
from tests import tiny


def started(config):
    """Bytes of a device of a run that has done its first step, as the compiler and JAX say."""
    parts, mesh = experiment.build(config), sharding.mesh(fsdp=config["fsdp"])
    with jax.set_mesh(mesh):
        batches = pipeline.train_batches(**training_data(parts), stop=1)
        batch = sharding.shard_batch(next(batches), mesh)
        batches.close()
        shapes, shardings = state.abstract_state(parts, batch, mesh)
        ts = jax.jit(state.make_init(parts), out_shardings=shardings)(state.run_key(parts), batch)
        compiled = step.make_step(parts, shardings, mesh).lower(ts, batch).compile()
        account = compiled.memory_analysis()
        held, whole = (
            sum(one(x) for x in jax.tree.leaves(ts.params))
            for one in (lambda x: x.addressable_shards[0].data.nbytes, lambda x: x.nbytes)
        )
        _, metrics = compiled(ts, batch)
        both = account.argument_size_in_bytes + account.output_size_in_bytes
        return {
            "loss": float(metrics["loss"]),
            "all": both - account.alias_size_in_bytes + account.temp_size_in_bytes,
            "temporaries": account.temp_size_in_bytes,
            "parameters": held,
            "whole parameters": whole,
            "batch": sum(x.addressable_shards[0].data.nbytes for x in batch.values()),
        }


def planned(config, **options):
    """The plan, with the data that are not there."""
    given = dict(
        quick=False, search=False, records=60, records_from="", clips_per_core=1.0, mfu=1.0
    )
    options = plan.Options(**given | options)
    return plan.make(config, topology.parse("cpu:8"), jax.devices(), options)


def small(world):
    """A run with 8 devices, whose nets are split over pairs of them."""
    return tiny.config(world) | dict(batch_size=32, evals={}, fsdp=2)


def main():
    jax.config.update("jax_enable_compilation_cache", False)
    own = loss_alone.sources
    loss_alone.sources = lambda *args: dict([next(iter(own(*args).items()))])  # One is enough.
    whole = planned(small("/nowhere"))
    quick = planned(small("/nowhere"), quick=True, search=True)
    found = {
        "started": started(small(sys.argv[1])),
        "plan": whole.memory,
        "quick": quick.memory,
        "collectives": [one._asdict() for one in whole.collectives],
        "flops": [whole.flops, quick.flops, whole.step.flops],
        "largest": [row._asdict() for row in quick.largest],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
