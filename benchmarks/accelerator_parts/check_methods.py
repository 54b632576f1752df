"""A refresh and two steps of every method of `configs/world.py`, with clips of noise.

The first step of a warm-up has a learning rate of 0.  The loss and the norm of the gradients must
be finite, and the parameters must change.
"""

import concurrent.futures
import json

import jax
import numpy as np

from avjax.config.build import substitute
from avjax.configs import world
from avjax.runtime import sharding
from avjax.training import refresh, stages
from avjax.training.experiment import training_data
from avjax.training.state import abstract_state, make_init, run_key
from avjax.training.step import make_step
from benchmarks.accelerator_parts import noise, report
from benchmarks.accelerator_parts.compiling import compile_fast

# One of each file of avjax.methods comes before the variants, lest the time is too short for all.
FIRST = ("cross-avid", "cma", "moco", "l3", "avts", "sscl", "xdc", "multisensory", "instdisc")


def run(add, dry):
    """A row per method, and per stage of those that have stages."""
    chosen = dry_runs() if dry else runs((*FIRST, *(m for m in world.METHODS if m not in FIRST)))
    with concurrent.futures.ThreadPoolExecutor(1 if dry else 8) as pool:  # Compiling is slow.
        futures = {pool.submit(two_steps, config): names for names, config in chosen.values()}
        for future in concurrent.futures.as_completed(futures):
            names = {"method": ", ".join(futures[future])}
            report.attempt(add, "methods", names, future.result)


def runs(methods):
    """{what determines a step: ([names], config)} of names of `world.METHODS`.

    Methods that differ in their data only are one.
    """
    found = {}
    for method in methods:
        config = substitute(world.get_config(method).to_dict(), "run")
        for folder, stage in stages.expand(config, method):
            sampler = stage["data"]["train"]["clip_sampler"]
            key = json.dumps([stage["method"], stage["batch_size"], sampler], default=str)
            found.setdefault(key, ([], stage))[0].append(folder)
    return found


def dry_runs():
    """One of `runs` with 4 clips of 4 frames and the nets of tests.tiny."""
    found = runs(("cross-avid",))
    for _, config in found.values():
        config["batch_size"] = 4
        config["data"]["train"]["clip_sampler"]["num_frames"] = 4
        encoders = dict(video=dict(fn="tests.tiny.Video"), audio=dict(fn="tests.tiny.Audio"))
        heads = {m: dict(fn="avjax.nets.layers.mlp.Mlp", widths=(8,)) for m in encoders}
        config["method"]["model"] |= dict(encoders=encoders, heads=heads)
    return found


def two_steps(config):
    """The columns of a method after two steps with the same batch."""
    clip = world.CLIP
    records = noise.source(240, clip["fps"], clip["frame_size"][0], clip["sample_rate"])
    made, mesh = noise.make(config, records), sharding.mesh(jax.devices()[:1])
    batch = noise.first_batch(made)
    with jax.set_mesh(mesh):
        batch = sharding.shard_batch(batch, mesh)
        _, shardings = abstract_state(made, batch, mesh)
        init = jax.jit(make_init(made), out_shardings=shardings)
        ts = compile_fast(init, run_key(made), batch)(run_key(made), batch)
        if renew := refresh.make_refresh(made, training_data(made), mesh, shardings):
            ts = renew(ts)
        before = jax.device_get(ts.params)
        step = compile_fast(make_step(made, shardings, mesh), ts, batch)
        ts, first = step(ts, batch)
        ts, last = step(ts, batch)
        after, metrics = jax.device_get((ts.params, (first, last)))
    changed = [not np.array_equal(*pair) for pair in zip(*map(jax.tree.leaves, (before, after)))]
    finite = all(np.isfinite([m["loss"], m["grad_norm"]]).all() for m in metrics)
    return {
        "loss": float(metrics[-1]["loss"]),
        "norm of its gradients": float(metrics[-1]["grad_norm"]),
        "parameters": len(changed),
        "changed": sum(changed),
        "passed": bool(finite and all(changed)),
    }
