"""The name of the running command, for its help and its messages."""

import sys


def program_name(module: str) -> str:
    """Returns e.g. "avjax train" if the command `avjax` runs, else "python -m <module>".

    Args:
      module: dotted name of the module of the command.
    """
    # avjax.cli sets it so before it calls the module.
    return sys.argv[0] if sys.argv[0].startswith("avjax ") else f"python -m {module}"
