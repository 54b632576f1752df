"""A method's refresh between steps, and the per-record features that it needs."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P

from avjax.data import clip_list, pipeline
from avjax.runtime import gathering, sharding
from avjax.runtime.progress import progress
from avjax.training.experiment import Experiment
from avjax.types import TrainState


def refresh_due(done: int, every: int) -> bool:
    """Whether a refresh comes after `done` steps: before the first, then every `every` steps.

    It belongs to the following step, so a run that resumes from a checkpoint at `done` does it.
    """
    return done == 0 or (every > 0 and done % every == 0)


def make_refresh(
    experiment: Experiment,
    data: dict[str, Any],
    mesh: jax.sharding.Mesh,
    shardings,
    before_batch: Callable[[], None] = lambda: None,
) -> Callable[[TrainState], TrainState] | None:
    """Returns a function state -> state that does the method's refresh; None if it has none.

    Args:
      experiment: the parts of the run; features are extracted from the data set data.refresh, or
        else from the training data.
      data: the training data, arguments of `pipeline.train_batches`.
      mesh: the device mesh.
      shardings: of the TrainState.
      before_batch: called before each batch; may raise.

    Raises:
      ValueError: config.data.refresh has another number of records than the training data.
    """
    method = experiment.method
    if method.refresh is None:
        return None
    refresh = jax.jit(method.refresh, out_shardings=(shardings.params, shardings.state))
    training = (
        "batch_size", "seed", "max_unreadable", "skip_no_audio", "needs_audio", "repeats", "order",
    )  # fmt: skip
    eval_args = {k: v for k, v in data.items() if k not in training}
    if "data.refresh" in experiment.data:
        eval_args |= {"transforms": (), **experiment.data["data.refresh"]}
        eval_args.pop("max_unreadable", None)
    if len(eval_args["source"]) != len(data["source"]):
        raise ValueError(
            f"config.data.refresh has {len(eval_args['source'])} records, the training source "
            f"{len(data['source'])}: both must have the same records"
        )
    extract_fn = method.extract and jax.jit(
        gathering.gather_before(_extract_with_index(method), (shardings.params, shardings.state)),
        out_shardings=sharding.replicated(mesh),
    )

    def renew(ts):
        size = experiment.settings.batch_size
        found = ()
        if extract_fn:
            found = extract_all(extract_fn, ts, eval_args, size, mesh, before_batch)
        rng = jax.random.fold_in(jax.random.fold_in(ts.rng, ts.step), 1)
        params, state = refresh(ts.params, ts.state, rng, found)
        return ts.replace(params=params, state=state)

    return renew


def extract_all(extract_fn, ts, data, batch_size, mesh, before_batch=lambda: None) -> dict:
    """Extracts features of all N records, averaged over the clips of each.

    Args:
      extract_fn: (params, state, batch) -> (mask [B], index [B], tree of [B, ...]).
      ts: the TrainState.
      data: arguments of `pipeline.evaluate`.
      batch_size: clips per batch.
      mesh: the device mesh.
      before_batch: called before each batch.

    Returns:
      {"mask": bool [N], **tree of [N, ...]} by row of the source, sharded over the devices; N is
      padded to a multiple of the devices.
    """
    size = len(data["source"])
    count, sums, spread = np.zeros(-(-size // mesh.size) * mesh.size, np.int32), None, None
    share = jax.process_index(), jax.process_count()
    listed = clip_list.of_data(data)
    batches = pipeline.eval_batches(**data, batch_size=batch_size, shard=share, clip_list=listed)
    number = clip_list.num_batches(listed, data["clip_sampler"].num_clips, batch_size, share[1])
    for batch in progress(batches, number, "refresh"):
        before_batch()
        mask, index, answers = jax.device_get(
            extract_fn(ts.params, ts.state, sharding.shard_batch(batch, mesh))
        )
        answers, spread = jax.tree.flatten(answers)
        if sums is None:
            sums = [np.zeros((len(count), *a.shape[1:]), a.dtype) for a in answers]
        np.add.at(count, index[mask], 1)
        for total, answer in zip(sums, answers):
            np.add.at(total, index[mask], answer[mask])
    assert sums is not None and spread is not None  # A source has records.
    means = [total / _expand_like(np.maximum(count, 1), total) for total in sums]
    found = {"mask": count > 0, **jax.tree.unflatten(spread, means)}
    place = NamedSharding(mesh, P(sharding.AXES))
    return jax.tree.map(
        lambda x: jax.make_array_from_callback(x.shape, place, lambda part: x[part]), found
    )


def _extract_with_index(method):
    def ask(params, state, batch):
        return batch["mask"], batch["index"], method.extract(params, state, batch)

    return ask


def _expand_like(count, total):
    """Returns count [N] with the rank and type of total [N, ...]."""
    return count.reshape(-1, *[1] * (total.ndim - 1)).astype(total.dtype)
