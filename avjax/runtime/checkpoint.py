"""Checkpoints of a run: the TrainState, saved by Orbax in the background."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from avjax.runtime import checkpoint_files, sharding, verified_steps, workdir as workdirs
from avjax.runtime.regular_files import read_text
from avjax.types import TrainState, Tree

MANIFEST_THREADS: list[threading.Thread] = []  # They write the manifests of saves under way.
ITEM = "default"  # Orbax: the folder of a step's only item.


def manager(workdir: str | os.PathLike, write: bool = True) -> ocp.CheckpointManager:
    """Returns the CheckpointManager of `workdir`/checkpoints.

    Args:
      workdir: the folder of a run.
      write: False to read only.  Else unfinished saves are deleted, by then the one under way of a
        run that is going on, too; and damaged checkpoints are set aside, see `verified_steps`.

    Raises:
      ValueError: all checkpoints are damaged.
    """
    if write and jax.process_index() == 0:
        verified_steps.set_aside_damaged(Path(workdir).resolve())
    options = ocp.CheckpointManagerOptions(
        create=write, enable_async_checkpointing=write, cleanup_tmp_directories=write
    )
    folder = Path(workdir).resolve() / "checkpoints"
    return ocp.CheckpointManager(
        folder, options=options, item_handlers=ocp.StandardCheckpointHandler()
    )


def save(
    checkpoints: ocp.CheckpointManager, ts: TrainState, max_to_keep: int | None = None
) -> None:
    """Saves a state under its step in the background, unless that step is saved already.

    A complete checkpoint gets a manifest.  Older ones are deleted when newer ones have theirs.

    Args:
      checkpoints: as `manager` returns it.
      ts: the state.
      max_to_keep: number of latest checkpoints that are kept, two at least; None for all.
    """
    step, folder = int(ts.step), Path(checkpoints.directory)
    if step in checkpoints.all_steps():
        return
    delete_old(checkpoints, max_to_keep)
    checkpoints.save(step, args=ocp.args.StandardSave(ts))
    if jax.process_index() == 0:
        args = folder, step, checkpoints.is_saving_in_progress
        thread = threading.Thread(target=verified_steps.write_manifest, args=args)
        MANIFEST_THREADS[:] = [one for one in MANIFEST_THREADS if one.is_alive()] + [thread]
        thread.start()


def wait_until_finished(checkpoints: ocp.CheckpointManager, max_to_keep: int | None = None) -> None:
    """Waits until all checkpoints are complete and have their manifests, and deletes old ones.

    Args:
      checkpoints: as `manager` returns it.
      max_to_keep: as of `save`.

    Raises:
      ValueError, OSError: a save failed.
    """
    checkpoints.wait_until_finished()
    for thread in MANIFEST_THREADS:
        thread.join()
    if jax.process_index() == 0:
        verified_steps.write_missing_manifests(Path(checkpoints.directory))
    delete_old(checkpoints, max_to_keep)


def delete_old(checkpoints: ocp.CheckpointManager, max_to_keep: int | None) -> None:
    """Deletes the checkpoints that are older than the newest `max_to_keep`, two at least.

    Args:
      checkpoints: as `manager` returns it.
      max_to_keep: number of checkpoints with a manifest that are kept; None for all.
    """
    with verified_steps.WRITING:
        old = verified_steps.superfluous(Path(checkpoints.directory), max_to_keep)
        for step in [step for step in old if step in checkpoints.all_steps()]:
            checkpoints.delete(step)


def restore(
    checkpoints: ocp.CheckpointManager, shapes: TrainState, shardings: TrainState
) -> TrainState | None:
    """Restores the latest TrainState; None if there is none.

    Args:
      checkpoints: as `manager` returns it.
      shapes: the state as `jax.eval_shape` returns it.
      shardings: of its leaves.

    Raises:
      ValueError: the checkpoint has other shapes.
    """
    step = checkpoints.latest_step()
    if step is None:
        return None
    checkpoint_files.check(checkpoints.directory / str(step))
    target = jax.tree.map(
        lambda s, place: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place), shapes, shardings
    )
    try:
        found: Any = checkpoints.restore(step, args=ocp.args.StandardRestore(target))
        return found
    except ValueError as error:
        raise ValueError(
            f"checkpoint {checkpoints.directory / str(step)} does not fit this config's state; "
            f"use another --workdir ({error})"
        ) from error


def read_config(folder: str | os.PathLike) -> dict:
    """Returns the config of a run.

    Args:
      folder: of the run.

    Raises:
      FileNotFoundError: the folder is not that of a run.
      ValueError: its config.json is damaged.
    """
    path = workdirs.check_is_run(folder)
    try:
        config = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} is not the config of a run")
    return config


def restore_latest(folder: str | os.PathLike, shapes: bool = False) -> dict:
    """Restores the latest TrainState of a run as plain dicts, replicated on all devices.

    Nothing is written: the run may be going on, or be on a disk that is read-only.

    Args:
      folder: the folder of the run.
      shapes: return jax.ShapeDtypeStruct instead of arrays.

    Returns:
      {"step", "rng", "params", "opt", "state"}.

    Raises:
      FileNotFoundError: the folder holds no checkpoint.
      ValueError: all checkpoints are damaged, or the newest undamaged one has files that are
        refused, see `checkpoint_files.check`.
    """
    workdirs.check_has_checkpoints(folder)
    step = verified_steps.newest_verified(folder)
    if step is None:
        raise FileNotFoundError(f"{folder} holds no checkpoint")
    path = Path(folder).resolve() / "checkpoints" / str(step)
    checkpoint_files.check(path)
    place = sharding.replicated(sharding.mesh())
    reader: Any = ocp.StandardCheckpointHandler()  # A manager would look at damaged ones, too.
    target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        reader.metadata(path / ITEM).tree,
    )
    return target if shapes else reader.restore(path / ITEM, args=ocp.args.StandardRestore(target))


def graft(
    tree: Tree, other: dict, target_path: str, source_path: str, source: str | os.PathLike
) -> Tree:
    """Returns `tree` with `target_path` replaced by the subtree of `other` at `source_path`.

    Args:
      tree, other: arrays, or shapes; a TrainState or nested dicts.
      target_path, source_path: paths such as "params/encoders_video".
      source: the name of `other` in messages.

    Raises:
      ValueError: a path does not exist, or shapes differ.
    """
    name = f"{source}: {source_path}"
    for key in source_path.split("/"):
        if not isinstance(other, dict) or key not in other:
            raise ValueError(f"{name}: no {key!r}; available: {_format_keys(other)}")
        other = other[key]
    return _replace(tree, other, target_path.split("/"), name)


def _replace(tree, other, keys, name):
    if not keys:
        return _merge(tree, other, name)
    head, *rest = keys
    fields = dict(tree.__dict__) if hasattr(tree, "replace") else tree
    if not isinstance(fields, dict) or head not in fields:
        raise ValueError(f"{name}: the model has no {head!r}; available: {_format_keys(fields)}")
    fields = {**fields, head: _replace(fields[head], other, rest, name)}
    return tree.replace(**fields) if hasattr(tree, "replace") else fields


def _merge(target, restored, name):
    """Returns `restored` with the shardings of `target`; the trees must be alike."""
    if not isinstance(target, dict) or not isinstance(restored, dict):
        return jax.tree.map(lambda x, y: _cast_like(x, y, name), target, restored)
    if invalid := sorted(target.keys() ^ restored.keys()):
        details = "; ".join(
            f"{k!r} is only {'here' if k in target else 'there'}" for k in invalid[:8]
        )
        raise ValueError(
            f"{name} belongs to another net: {details}; use the same net in config.method.model, "
            "or name the parts to take (paths)"
        )
    return {key: _merge(target[key], restored[key], f"{name}/{key}") for key in target}


def _format_keys(tree):
    return sorted(tree) if isinstance(tree, dict) else "an array"


def _cast_like(target, restored, name):
    if target.shape != restored.shape:
        raise ValueError(f"{name}: shape {restored.shape} there, {target.shape} here")
    if isinstance(target, jax.ShapeDtypeStruct):
        return target
    if name.endswith("/size") and int(restored) != int(target):  # Of a memory.
        raise ValueError(
            f"{name}: a memory of {int(restored)} records there, of {int(target)} here"
        )
    return jax.device_put(restored.astype(target.dtype), target.sharding)
