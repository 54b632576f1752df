"""The config of a run, from its folder."""

import json
import os

from avjax.runtime import workdir as workdirs
from avjax.runtime.regular_files import read_text


def read(folder: str | os.PathLike) -> dict:
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
