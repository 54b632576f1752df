"""Checkpoints of a run: the TrainState, saved by Orbax in the background."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

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
from avjax.types import TrainState

ITEM = "default"  # Orbax: the folder of a step's only item.


class Checkpoints(NamedTuple):
    """The open checkpoints of a run.

    Attributes:
      manager: Orbax's.
      failures: saves that failed in a row.
      completing: at most one thread, which waits for the end of the save under way and writes its
        manifest.
    """

    manager: ocp.CheckpointManager
    failures: save_failures.Failures
    completing: list[threading.Thread]


@contextlib.contextmanager
def open_checkpoints(workdir: str | os.PathLike, write: bool = True) -> Iterator[Checkpoints]:
    """Opens `workdir`/checkpoints.

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
    with ocp.CheckpointManager(folder, options=options, item_handlers=handler) as manager:
        checkpoints = Checkpoints(manager, save_failures.Failures(folder), [])
        try:
            yield checkpoints
        finally:
            wait_for_save(checkpoints)
        checkpoints.failures.stop_if_too_many(1)


def save(checkpoints: Checkpoints, ts: TrainState, max_to_keep: int | None = None) -> None:
    """Saves a state under its step in the background, unless that step is saved already.

    A complete checkpoint gets a manifest.  Older ones are deleted when newer ones have theirs.  A
    save that fails is logged, see `save_failures`, and training continues.

    Args:
      checkpoints: as `open_checkpoints` returns them.
      ts: the state.
      max_to_keep: number of latest checkpoints that are kept, two at least; None for all.

    Raises:
      OSError: too many saves in a row failed.
    """
    (manager, failures, completing), step = checkpoints, int(jax.block_until_ready(ts).step)
    wait_for_save(checkpoints)
    failures.stop_if_too_many()
    if step in manager.all_steps():
        return
    verified_steps.delete_old(manager, max_to_keep)
    try:
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(ts))
        save_failures.check_free_space(manager.directory, size)
        manager.save(step, args=ocp.args.StandardSave(ts))
    except save_failures.ERRORS as error:
        failures.add(step, error)
        failures.stop_if_too_many()
        return
    if jax.process_index() == 0:
        completing[:] = [threading.Thread(target=_complete, args=(checkpoints, step))]
        completing[0].start()


def _complete(checkpoints: Checkpoints, step: int) -> None:
    """Waits for the end of a save; writes the manifest, or logs that the save has failed."""
    manager, failures, _ = checkpoints
    try:
        folder = Path(manager.directory)
        verified_steps.write_manifest(folder, step, manager.is_saving_in_progress)
        manager.wait_until_finished()
        failures.reset()
        heaps.trim()
    except save_failures.ERRORS as error:
        failures.add(step, error)


def wait_for_save(checkpoints: Checkpoints) -> None:
    """Waits until the save under way, if any, is complete with its manifest, or has failed.

    Args:
      checkpoints: as `open_checkpoints` returns them.
    """
    for thread in checkpoints.completing:
        thread.join()
    try:
        checkpoints.manager.wait_until_finished()  # Raises an error again in each thread.
    except save_failures.ERRORS as error:
        if jax.process_index():
            checkpoints.failures.add(-1, error)


def wait_until_finished(checkpoints: Checkpoints, max_to_keep: int | None = None) -> None:
    """Waits until all checkpoints are complete and have their manifests, and deletes old ones.

    Args:
      checkpoints: as `open_checkpoints` returns them.
      max_to_keep: as of `save`.

    Raises:
      OSError: the last save failed.
    """
    wait_for_save(checkpoints)
    manager, failures, _ = checkpoints
    failures.stop_if_too_many(1)
    if jax.process_index() == 0:
        verified_steps.write_missing_manifests(Path(manager.directory))
    verified_steps.delete_old(manager, max_to_keep)


def restore(
    checkpoints: Checkpoints,
    shapes: TrainState,
    shardings: TrainState,
    write: bool = True,
) -> TrainState | None:
    """Restores the latest TrainState; None if there is none.

    Args:
      checkpoints: as `open_checkpoints` returns them.
      shapes: the state as `jax.eval_shape` returns it.
      shardings: of its leaves.
      write: as of `open_checkpoints`; False also verifies the checkpoint, see `newest_checkpoint`.

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
                found: Any = checkpoints.manager.restore(int(path.name), args=args)
                return found
            return reader.restore(path / ITEM, args=args)
        except ValueError as error:
            raise ValueError(
                f"checkpoint {path} is not of this config: use the config and the version of avjax "
                f"that the run started with ({error})"
            ) from error

    manager = checkpoints.manager
    folder, step = Path(manager.directory), manager.latest_step()
    if not write:
        return newest_checkpoint.read(folder.parent, read_arrays)
    if step is None:
        return None
    checkpoint_files.check(folder / str(step))
    return read_arrays(folder / str(step))


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
