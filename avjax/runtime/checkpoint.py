"""Checkpoints of a run: the whole TrainState, saved by Orbax in the background."""

import json
from pathlib import Path

import jax
import orbax.checkpoint as ocp

from avjax.runtime import sharding


def manager(workdir, keep: int) -> ocp.CheckpointManager:
    """The checkpoints under `workdir`, of which the newest `keep` stay."""
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep, create=True, enable_async_checkpointing=True, cleanup_tmp_directories=True
    )
    folder = Path(workdir).resolve() / "checkpoints"
    return ocp.CheckpointManager(
        folder, options=options, item_handlers=ocp.StandardCheckpointHandler()
    )


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


def config_of(folder) -> dict:
    """The config of a run; FileNotFoundError or ValueError where the folder holds none."""
    path = Path(folder) / "config.json"
    if not path.is_file():
        what = "no config.json" if Path(folder).is_dir() else "no such directory"
        raise FileNotFoundError(f"{folder} is not a run directory ({what})")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} is not the config of a run")
    return config


def newest(folder, shapes: bool = False) -> dict:
    """The newest TrainState of a run as plain dicts: {"step", "rng", "params", "opt", "state"}.

    Every device holds all of it, whatever the devices of that run were.  shapes: only the shapes
    are read, as jax.ShapeDtypeStruct.
    """
    if not (Path(folder) / "checkpoints").is_dir():
        raise FileNotFoundError(f"{folder} is not a run directory (no checkpoints/)")
    with manager(folder, keep=None) as checkpoints:
        step = checkpoints.latest_step()
        if step is None:
            raise FileNotFoundError(f"{folder} holds no checkpoint")
        place = sharding.replicated(sharding.mesh())
        target = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
            checkpoints.item_metadata(step).tree,
        )
        if shapes:
            return target
        return checkpoints.restore(step, args=ocp.args.StandardRestore(target))


def graft(tree, source, path: str):
    """`tree` with the subtree at `path` ("params/encoders_video") taken from another run.

    source: that run's workdir.  Raises ValueError when the run has no such path, or
    shapes differ.
    """
    return grafted(tree, newest(source), path, path, source)


def grafted(tree, other: dict, here: str, there: str, source):
    """`tree` with its subtree at the path `here` taken from the path `there` of `other`.

    Args:
      tree, other: arrays, or the shapes of both; a TrainState, or nested dicts.
      source: the name of `other` in messages.

    Raises:
      ValueError: a path does not exist, or shapes differ.
    """
    name = f"{source}: {there}"
    for key in there.split("/"):
        if not isinstance(other, dict) or key not in other:
            raise ValueError(f"{name}: no {key!r}; there are {_keys(other)}")
        other = other[key]
    return _replace(tree, other, here.split("/"), name)


def _replace(tree, other, keys, name):
    if not keys:
        return _merged(tree, other, name)
    head, *rest = keys
    fields = dict(tree.__dict__) if hasattr(tree, "replace") else tree
    if not isinstance(fields, dict) or head not in fields:
        raise ValueError(f"{name}: the model has no {head!r}; it has {_keys(fields)}")
    fields = {**fields, head: _replace(fields[head], other, rest, name)}
    return tree.replace(**fields) if hasattr(tree, "replace") else fields


def _merged(mine, theirs, name):
    """`theirs`, if it is a tree like `mine`, in its place."""
    if not isinstance(mine, dict) or not isinstance(theirs, dict):
        return jax.tree.map(lambda x, y: _fit(x, y, name), mine, theirs)
    if odd := sorted(mine.keys() ^ theirs.keys()):
        told = "; ".join(f"{k!r} is only {'here' if k in mine else 'there'}" for k in odd[:8])
        raise ValueError(f"{name} is of another net: {told}; name the parts to take (paths)")
    return {key: _merged(mine[key], theirs[key], f"{name}/{key}") for key in mine}


def _keys(tree):
    return sorted(tree) if isinstance(tree, dict) else "an array"


def _fit(mine, theirs, name):
    if mine.shape != theirs.shape:
        raise ValueError(f"{name}: shape {theirs.shape} there, {mine.shape} here")
    if isinstance(mine, jax.ShapeDtypeStruct):
        return mine
    if name.endswith("/size") and int(theirs) != int(mine):  # Of a memory.
        raise ValueError(f"{name}: a memory of {int(theirs)} records there, of {int(mine)} here")
    return jax.device_put(theirs.astype(mine.dtype), mine.sharding)
