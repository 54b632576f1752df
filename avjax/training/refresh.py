"""Between steps: a method's refresh, and what it wants to know of every record before it."""

import math

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P

from avjax.config.build import build
from avjax.data import pipeline
from avjax.runtime import sharding
from avjax.runtime.progress import progress


def due(done: int, every: int) -> bool:
    """Whether a refresh comes after `done` steps: before the first, then every `every` steps.

    It belongs to the step that follows, so a run that goes on after a checkpoint does it too.
    """
    return done == 0 or (every > 0 and done % every == 0)


def renewal(config, method, data, mesh, places):
    """state -> state, with what the method's refresh makes of it; None if it has none.

    data: the training data, as pipeline.train takes it; places: the shardings of the state.
    """
    if method.refresh is None:
        return None
    refresh = jax.jit(method.refresh, out_shardings=(places.params, places.state))
    training = ("batch_size", "seed", "max_unreadable", "skip_no_audio", "needs_audio", "repeats")
    asked = {k: v for k, v in data.items() if k not in training}
    if "refresh" in config["data"]:
        asked |= {"transforms": (), **build(config["data"]["refresh"])}
        asked.pop("max_unreadable", None)
    if len(asked["source"]) != len(data["source"]):
        raise ValueError(
            f"config.data.refresh has {len(asked['source'])} records, the training source "
            f"{len(data['source'])}: both must be of the same records"
        )
    ask = method.extract and jax.jit(_answers(method), out_shardings=sharding.replicated(mesh))

    def renew(ts):
        found = all_of(ask, ts, asked, config["batch_size"], mesh) if ask else ()
        rng = jax.random.fold_in(jax.random.fold_in(ts.rng, ts.step), 1)
        params, state = refresh(ts.params, ts.state, rng, found)
        return ts.replace(params=params, state=state)

    return renew


def all_of(ask, ts, data, batch_size, mesh) -> dict:
    """{"mask": bool [N], **answers [N, ...]} by row of the source, split over the devices.

    The clips of a record are averaged.  N is padded to a multiple of the devices.
    """
    size = len(data["source"])
    count, sums, spread = np.zeros(-(-size // mesh.size) * mesh.size, np.int32), None, None
    share = jax.process_index(), jax.process_count()
    batches = pipeline.eval_batches(**data, batch_size=batch_size, shard=share)
    each = max(1, batch_size // data["clip_sampler"].num_clips)
    for batch in progress(batches, math.ceil(size / each), "refresh"):
        mask, index, answers = jax.device_get(ask(ts.params, ts.state, sharding.put(batch, mesh)))
        answers, spread = jax.tree.flatten(answers)
        if sums is None:
            sums = [np.zeros((len(count), *a.shape[1:]), a.dtype) for a in answers]
        np.add.at(count, index[mask], 1)
        for total, answer in zip(sums, answers):
            np.add.at(total, index[mask], answer[mask])
    means = [total / _along(np.maximum(count, 1), total) for total in sums]
    found = {"mask": count > 0, **jax.tree.unflatten(spread, means)}
    place = NamedSharding(mesh, P("data"))
    return jax.tree.map(
        lambda x: jax.make_array_from_callback(x.shape, place, lambda part: x[part]), found
    )


def _answers(method):
    def ask(params, state, batch):
        return batch["mask"], batch["index"], method.extract(params, state, batch)

    return ask


def _along(count, total):
    """count [N] to divide total [N, ...] by, of its type."""
    return count.reshape(-1, *[1] * (total.ndim - 1)).astype(total.dtype)
