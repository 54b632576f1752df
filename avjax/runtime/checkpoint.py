"""Checkpoints of a run: the TrainState, saved by Orbax in the background."""

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from avjax.runtime import (
    checkpoint_files,
    heaps,
    leftovers,
    newest_checkpoint,
    save_failures,
    sharding,
    side_files,
    verified_steps,
    workdir as workdirs,
)
from avjax.runtime.regular_files import read_text
from avjax.types import TrainState

# The save under way: a thread that waits for its end, and writes the manifest.
COMPLETING: list[threading.Thread] = []
FAILURES: dict[ocp.CheckpointManager, save_failures.Failures] = {}  # Of the open managers.
ITEM = "default"  # Orbax: the folder of a step's only item.


@contextlib.contextmanager
def manager(workdir: str | os.PathLike, write: bool = True) -> Iterator[ocp.CheckpointManager]:
    """Opens the CheckpointManager of `workdir`/checkpoints.

    Args:
      workdir: the folder of a run.
      write: False to read only.  Else unfinished files and saves are deleted, by then the one under
        way of a run that is going on, too; and damaged checkpoints are set aside, see
        `verified_steps`.

    Raises:
      ValueError: all checkpoints are damaged.
      OSError: the last save has failed; at the end of the block.
    """
    if write:
        with sharding.process_zero_first("damaged checkpoints"):
            if jax.process_index() == 0:
                leftovers.remove(workdir)
                side_files.make_folder(Path(workdir) / "checkpoints")
                verified_steps.set_aside_damaged(Path(workdir).resolve())
    options = ocp.CheckpointManagerOptions(
        create=write, enable_async_checkpointing=write, cleanup_tmp_directories=write
    )
    folder = Path(workdir).resolve() / "checkpoints"
    handler = ocp.StandardCheckpointHandler()
    save_failures.quiet_orbax()
    with ocp.CheckpointManager(folder, options=options, item_handlers=handler) as checkpoints:
        FAILURES[checkpoints] = failures = save_failures.Failures(folder)
        try:
            yield checkpoints
        finally:
            wait_for_save(checkpoints)
            del FAILURES[checkpoints]
        failures.stop_if_too_many(1)


def save(
    checkpoints: ocp.CheckpointManager, ts: TrainState, max_to_keep: int | None = None
) -> None:
    """Saves a state under its step in the background, unless that step is saved already.

    A complete checkpoint gets a manifest.  Older ones are deleted when newer ones have theirs.  A
    save that fails is logged, see `save_failures`, and training continues.

    Args:
      checkpoints: as `manager` returns it.
      ts: the state.
      max_to_keep: number of latest checkpoints that are kept, two at least; None for all.

    Raises:
      OSError: too many saves in a row failed.
    """
    step, failures = int(jax.block_until_ready(ts).step), FAILURES[checkpoints]
    wait_for_save(checkpoints)
    failures.stop_if_too_many()
    if step in checkpoints.all_steps():
        return
    verified_steps.delete_old(checkpoints, max_to_keep)
    try:
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(ts))
        save_failures.check_free_space(checkpoints.directory, size)
        checkpoints.save(step, args=ocp.args.StandardSave(ts))
    except save_failures.ERRORS as error:
        failures.add(step, error)
        failures.stop_if_too_many()
        return
    if jax.process_index() == 0:
        COMPLETING[:] = [threading.Thread(target=_complete, args=(checkpoints, step))]
        COMPLETING[0].start()


def _complete(checkpoints: ocp.CheckpointManager, step: int) -> None:
    """Waits for the end of a save; writes the manifest, or logs that the save has failed."""
    folder = Path(checkpoints.directory)
    try:
        verified_steps.write_manifest(folder, step, checkpoints.is_saving_in_progress)
        checkpoints.wait_until_finished()
        FAILURES[checkpoints].reset()
        heaps.trim()
    except save_failures.ERRORS as error:
        FAILURES[checkpoints].add(step, error)


def wait_for_save(checkpoints: ocp.CheckpointManager) -> None:
    """Waits until the save under way, if any, is complete with its manifest, or has failed.

    Args:
      checkpoints: as `manager` returns it.
    """
    for thread in COMPLETING:
        thread.join()
    try:
        checkpoints.wait_until_finished()  # Raises an error again in each thread.
    except save_failures.ERRORS as error:
        if jax.process_index():
            FAILURES[checkpoints].add(-1, error)


def wait_until_finished(checkpoints: ocp.CheckpointManager, max_to_keep: int | None = None) -> None:
    """Waits until all checkpoints are complete and have their manifests, and deletes old ones.

    Args:
      checkpoints: as `manager` returns it.
      max_to_keep: as of `save`.

    Raises:
      OSError: the last save failed.
    """
    wait_for_save(checkpoints)
    FAILURES[checkpoints].stop_if_too_many(1)
    if jax.process_index() == 0:
        verified_steps.write_missing_manifests(Path(checkpoints.directory))
    verified_steps.delete_old(checkpoints, max_to_keep)


def restore(
    checkpoints: ocp.CheckpointManager,
    shapes: TrainState,
    shardings: TrainState,
    write: bool = True,
) -> TrainState | None:
    """Restores the latest TrainState; None if there is none.

    Args:
      checkpoints: as `manager` returns it.
      shapes: the state as `jax.eval_shape` returns it.
      shardings: of its leaves.
      write: as of `manager`; False also verifies the checkpoint, see `newest_checkpoint`.

    Raises:
      ValueError: the checkpoint has other shapes; without `write`, all are damaged.
    """
    target = jax.tree.map(
        lambda s, place: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=place), shapes, shardings
    )

    def read_arrays(path: Path) -> TrainState:
        args = ocp.args.StandardRestore(target)
        reader: Any = ocp.StandardCheckpointHandler()
        try:
            if write:
                found: Any = checkpoints.restore(int(path.name), args=args)
                return found
            return reader.restore(path / ITEM, args=args)
        except ValueError as error:
            raise ValueError(
                f"checkpoint {path} is not of this config: use the config and the version of avjax "
                f"that the run started with ({error})"
            ) from error

    folder, step = Path(checkpoints.directory), checkpoints.latest_step()
    if not write:
        return newest_checkpoint.read(folder.parent, read_arrays)
    if step is None:
        return None
    checkpoint_files.check(folder / str(step))
    return read_arrays(folder / str(step))


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
        raise ValueError(
            f"{path} cannot be read: {error}; re-run the command that trained it, which writes it "
            "again"
        ) from error
    if not isinstance(config, dict):
        raise ValueError(
            f"{path} is not the config of a run; re-run the command that trained it, which writes "
            "it again"
        )
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
    place = sharding.replicated(sharding.mesh())

    def read_arrays(path: Path) -> dict:
        reader: Any = ocp.StandardCheckpointHandler()  # A manager would look at damaged ones, too.
        target = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
            reader.metadata(path / ITEM).tree,
        )
        if shapes:
            return target
        return reader.restore(path / ITEM, args=ocp.args.StandardRestore(target))

    found = newest_checkpoint.read(folder, read_arrays)
    if found is None:
        raise FileNotFoundError(f"{folder} holds no checkpoint")
    return found
