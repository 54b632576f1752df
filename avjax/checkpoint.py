"""Checkpoints of a run: the whole TrainState, saved by Orbax in the background."""

from pathlib import Path

import jax
import orbax.checkpoint as ocp


def manager(workdir, keep: int) -> ocp.CheckpointManager:
    """The checkpoints under `workdir`, of which the newest `keep` stay."""
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep, create=True, enable_async_checkpointing=True, cleanup_tmp_directories=True
    )
    return ocp.CheckpointManager(Path(workdir).resolve() / "checkpoints", options=options)


def save(checkpoints: ocp.CheckpointManager, ts) -> None:
    """Saves `ts` under its step; returns before it is on disk.  A saved step stays as it is."""
    step = int(ts.step)
    if step not in checkpoints.all_steps():
        checkpoints.save(step, args=ocp.args.StandardSave(ts))


def restore(checkpoints: ocp.CheckpointManager, shapes, places):
    """The newest TrainState, each leaf where `places` says, or None when none was saved.

    shapes: the state as `jax.eval_shape` gives it.  A state of other shapes is an error:
    the folder then holds another run.
    """
    step = checkpoints.latest_step()
    if step is None:
        return None
    target = jax.tree.map(
        lambda s, place: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place), shapes, places
    )
    try:
        return checkpoints.restore(step, args=ocp.args.StandardRestore(target))
    except ValueError as error:
        raise ValueError(
            f"checkpoint {checkpoints.directory / str(step)} does not fit this config's state; "
            f"use another --workdir ({error})"
        ) from error


def graft(tree, source, path: str):
    """`tree` with the subtree at `path` ("params/encoders_video") taken from another run.

    source: that run's workdir.  Raises KeyError when the run has no such path and
    ValueError when shapes differ.
    """
    with manager(source, keep=None) as checkpoints:
        step = checkpoints.latest_step()
        if step is None:
            raise FileNotFoundError(f"{source} holds no checkpoint to take {path} from")
        other = checkpoints.restore(step, args=ocp.args.StandardRestore())
    return _replace(tree, other, path.split("/"), f"{source}: {path}")


def _replace(tree, other, keys, name):
    head, *rest = keys
    fields = dict(tree.__dict__) if hasattr(tree, "replace") else dict(tree)
    if head not in fields or head not in other:
        raise KeyError(f"{name}: no {head!r}; there are {sorted(other)} and here {sorted(fields)}")
    if rest:
        fields[head] = _replace(fields[head], other[head], rest, name)
    else:
        fields[head] = jax.tree.map(lambda x, y: _fit(x, y, name), fields[head], other[head])
    return tree.replace(**fields) if hasattr(tree, "replace") else fields


def _fit(mine, theirs, name):
    if mine.shape != theirs.shape:
        raise ValueError(f"{name}: shape {theirs.shape} there, {mine.shape} here")
    return jax.device_put(theirs.astype(mine.dtype), mine.sharding)
