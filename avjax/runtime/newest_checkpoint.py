"""Reads the newest checkpoint of a run that may save and delete checkpoints meanwhile."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from avjax.runtime import checkpoint_files, manifest, verified_steps


def read(workdir: str | os.PathLike, read_arrays: Callable[[Path], Any]) -> Any:
    """Reads the newest undamaged checkpoint of a run that may be going on.

    If the run deletes it meanwhile, the one that is the newest then is read.

    Args:
      workdir: the folder of the run.
      read_arrays: folder of a checkpoint -> what is read of it.

    Returns:
      what `read_arrays` returns; None if there is no checkpoint.

    Raises:
      ValueError: all checkpoints are damaged, or a file is refused, see `checkpoint_files.check`.
    """
    step = verified_steps.newest_verified(workdir)
    while step is not None:
        folder = Path(workdir).resolve() / "checkpoints" / str(step)
        has_manifest = manifest.exists(folder)
        try:
            checkpoint_files.check(folder)
            found = read_arrays(folder)
            if not has_manifest or not manifest.damage(folder, hashes=False):
                return found
            step = verified_steps.newest_verified(workdir)
        except Exception:  # Any: raised again unless a running run has saved a newer one.
            newest = verified_steps.newest_verified(workdir)
            if newest == step:
                raise
            step = newest
    return None
