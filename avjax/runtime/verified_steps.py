"""Which checkpoints of a run are as they were saved: damaged ones are reported and never restored.

A checkpoint is verified by its manifest.  One that Orbax completed without one is taken as it is,
unless a file is empty or all zeros, as after a power failure: it is of a run that was killed just
then, or of an earlier version.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from avjax.runtime import manifest, run_fields, sharding, side_files

DAMAGED = "damaged"  # In the folder of a run: checkpoints that were set aside.
COMPLETE = ("_CHECKPOINT_METADATA", "default")  # Orbax writes them before it renames the folder.
POLL_SECONDS = 0.02
MIN_TO_KEEP = 2  # Verified checkpoints: one may turn out to be damaged.
MARKER = "commit_success.txt"  # Of Orbax; empty.
MAX_SEARCHES = 5  # Each because a run has saved and deleted checkpoints meanwhile.
WRITING = threading.Lock()

log = logging.getLogger(__name__)


def list_steps(folder: Path) -> list[int]:
    """Returns the steps that have a folder in a folder of checkpoints, the newest first."""
    if not folder.is_dir():
        return []
    names = [path.name for path in folder.iterdir() if path.name.isdecimal() and path.is_dir()]
    return sorted((int(name) for name in names if name == str(int(name))), reverse=True)


def is_checkpoint(checkpoint: Path) -> bool:
    """Whether a folder was a checkpoint: one that is empty or has other files loses nothing."""
    return any((checkpoint / name).exists() for name in (manifest.FILENAME, *COMPLETE))


def find_verified(folder: Path) -> tuple[int | None, dict[int, str]]:
    """Finds the newest checkpoint that is as it was saved.

    Args:
      folder: of the checkpoints of a run.

    Returns:
      (its step or None, {step: what is wrong} of all newer ones).
    """
    step, damaged = None, {}
    for _ in range(MAX_SEARCHES):
        steps = list_steps(folder)
        step, damaged = _search(folder, steps)
        if not damaged or list_steps(folder)[:1] == steps[:1]:
            break  # Else a run that is going on has a newer one, and deletes those of the list.
    return step, damaged


def _search(folder: Path, steps: list[int]) -> tuple[int | None, dict[int, str]]:
    """Returns `find_verified` of a list of steps."""
    damaged, newer_has_manifest = {}, False
    for step in steps:
        has_manifest = manifest.exists(folder / str(step))
        reason = _damage(folder / str(step))
        if newer_has_manifest and not has_manifest:
            reason = reason or "a newer one has a manifest, this one was being deleted"
        if not reason:
            return step, damaged
        newer_has_manifest |= has_manifest
        if (folder / str(step)).is_dir():
            damaged[step] = reason
    return None, damaged


def _damage(checkpoint: Path) -> str:
    """Returns what is wrong with a checkpoint; "" if nothing is."""
    if manifest.exists(checkpoint):
        return manifest.damage(checkpoint)
    if not all((checkpoint / name).exists() for name in COMPLETE):
        return "it is not a complete checkpoint"
    empty = (path for path in sorted(checkpoint.rglob("*")) if path.is_file() and _is_empty(path))
    return next((f"{path.relative_to(checkpoint)} is empty" for path in empty), "")


def _is_empty(path: Path) -> bool:
    """Whether a file of a checkpoint has nothing but zeros."""
    if path.name == MARKER:
        return False
    with open(path, "rb") as file:
        while chunk := file.read(2**18):
            if chunk.strip(b"\0"):
                return False
    return True


def newest_verified(workdir: str | os.PathLike) -> int | None:
    """Returns the newest checkpoint that is as it was saved, None without checkpoints.

    Changes nothing; damaged ones are logged.

    Args:
      workdir: the folder of a run.

    Raises:
      ValueError: all checkpoints are damaged.
    """
    folder = Path(workdir) / "checkpoints"
    step, damaged = find_verified(folder)
    _check_any_is_left(folder, step, damaged)
    for other, reason in damaged.items():
        log.warning(
            "checkpoint %s is damaged: %s; step %s is used instead",
            folder / str(other),
            reason,
            step,
        )
    return step


def set_aside_damaged(workdir: str | os.PathLike) -> None:
    """Moves damaged checkpoints that are newer than the newest undamaged one into `damaged`.

    Args:
      workdir: the folder of a run.

    Raises:
      ValueError: all checkpoints are damaged; nothing is moved.
    """
    folder = Path(workdir) / "checkpoints"
    step, damaged = find_verified(folder)
    _check_any_is_left(folder, step, damaged)
    for other, reason in damaged.items():
        side_files.make_folder(Path(workdir) / DAMAGED)
        target = side_files.unused(Path(workdir) / DAMAGED / str(other))
        os.replace(folder / str(other), target)
        log.warning(
            "checkpoint %s is damaged: %s; moved to %s, step %s is used instead",
            folder / str(other), reason, target, step or 0,
        )  # fmt: skip


def write_manifest(folder: Path, step: int, in_progress: Callable[[], bool]) -> None:
    """Waits until a checkpoint appears under its name, then writes the missing manifests.

    Args:
      folder: of the checkpoints of a run.
      step: of the checkpoint.
      in_progress: whether a save is under way; if none is, and there is no checkpoint, it failed.
    """
    while not (folder / str(step)).is_dir():
        if not in_progress() and not (folder / str(step)).is_dir():
            return
        time.sleep(POLL_SECONDS)
    write_missing_manifests(folder)


def write_missing_manifests(folder: Path) -> None:
    """Writes the manifests of complete checkpoints that have none.

    One that is older than one that has a manifest is left out: it was being deleted.

    Args:
      folder: of the checkpoints of a run.
    """
    with WRITING:
        newest = max(_with_manifest(folder), default=-1)
        for step in list_steps(folder):
            if step > newest and not _damage(folder / str(step)):
                fields = run_fields.read(folder.parent)
                manifest.write(folder / str(step), step=step, **fields)


def _with_manifest(folder: Path) -> list[int]:
    """Returns the steps whose checkpoints have a manifest, the newest first."""
    return [step for step in list_steps(folder) if manifest.exists(folder / str(step))]


def superfluous(folder: Path, max_to_keep: int | None) -> list[int]:
    """Returns the steps that are older than the newest checkpoints with a manifest.

    A run that was killed while it deleted one may have left half of it.

    Args:
      folder: of the checkpoints of a run.
      max_to_keep: number of checkpoints with a manifest to keep, two at least; None for all.
    """
    if max_to_keep is None:
        return []
    number = max(MIN_TO_KEEP, max_to_keep)
    kept = _with_manifest(folder)[:number]
    if len(kept) < number:
        return []
    return [step for step in list_steps(folder) if step < kept[-1]]


def delete_old(manager: Any, max_to_keep: int | None) -> None:
    """Deletes the checkpoints that are older than the newest `max_to_keep`, two at least.

    Args:
      manager: Orbax's CheckpointManager.
      max_to_keep: number of checkpoints with a manifest that are kept; None for all.
    """
    with WRITING:
        old = superfluous(Path(manager.directory), max_to_keep)
        if max_to_keep is not None:  # Orbax wants all processes to delete the same ones.
            old = sharding.integers_of_process_zero(old)
        for step in [step for step in old if step in manager.all_steps()]:
            manager.delete(step)


def _check_any_is_left(folder: Path, step: int | None, damaged: dict[int, str]) -> None:
    """Raises ValueError if there are checkpoints and all are damaged."""
    damaged = {s: why for s, why in damaged.items() if is_checkpoint(folder / str(s))}
    if step is not None or not damaged:
        return
    step, reason = next(iter(damaged.items()))
    raise ValueError(
        f"all {len(damaged)} checkpoints in {folder} are damaged (step {step}: {reason}): restore "
        f"them from a backup, or move {folder} away to start again from step 0"
    )
