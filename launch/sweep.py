"""The runs of an ablation, for the scripts that start each as a job of its own."""

import re
import subprocess
import sys
from typing import NamedTuple


class Runs(NamedTuple):
    """The numbers of an ablation's runs, from 1.

    Attributes:
      first: runs that select the learning rates, 1 to `first`; 0 if there are none.
      last: number of the last run.  Runs after `first` start when those have finished.
    """

    first: int
    last: int


def count_runs(arguments: list[str]) -> Runs:
    """Asks `python -m avjax.ablate --print_commands` for the runs.

    Args:
      arguments: of avjax.ablate.

    Raises:
      SystemExit: the command fails; with its message.
    """
    command = [sys.executable, "-m", "avjax.ablate", *arguments, "--print_commands"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    tuning = re.search(r"^runs 1-(\d+) select the learning rates", done.stderr, re.MULTILINE)
    return Runs(int(tuning[1]) if tuning else 0, len(done.stdout.splitlines()))
