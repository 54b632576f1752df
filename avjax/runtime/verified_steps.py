"""Which checkpoints of a run are as they were saved: damaged ones are reported and never restored.

A checkpoint is verified by its manifest.  One that Orbax completed without one is taken as it is:
of a run that was killed just then, or of an earlier version.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from avjax.runtime import manifest, side_files

DAMAGED = "damaged"  # In the folder of a run: checkpoints that were set aside.
COMPLETE = ("_CHECKPOINT_METADATA", "default")  # Orbax writes them before it renames the folder.
POLL_SECONDS = 0.02
MIN_TO_KEEP = 2  # Verified checkpoints: one may turn out to be damaged.
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
    damaged = {}
    for step in list_steps(folder):
        if not (reason := _damage(folder / str(step))):
            return step, damaged
        damaged[step] = reason
    return None, damaged


def _damage(checkpoint: Path) -> str:
    """Returns what is wrong with a checkpoint; "" if nothing is."""
    if manifest.exists(checkpoint):
        return manifest.damage(checkpoint)
    complete = all((checkpoint / name).exists() for name in COMPLETE)
    return "" if complete else "it is not a complete checkpoint"


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

    Args:
      folder: of the checkpoints of a run.
    """
    with WRITING:
        for step in list_steps(folder):
            if not manifest.exists(folder / str(step)) and not _damage(folder / str(step)):
                manifest.write(folder / str(step), step=step)


def superfluous(folder: Path, max_to_keep: int | None) -> list[int]:
    """Returns the steps of the checkpoints that are older than the newest verifiable ones.

    Args:
      folder: of the checkpoints of a run.
      max_to_keep: number of checkpoints with a manifest to keep, two at least; None for all.
    """
    if max_to_keep is None:
        return []
    steps = [step for step in list_steps(folder) if manifest.exists(folder / str(step))]
    return steps[max(MIN_TO_KEEP, max_to_keep) :]


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
