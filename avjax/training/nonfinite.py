"""Steps whose numbers are not finite: they change nothing, and several in a row end the run.

A batch may give a loss or gradients that are NaN or infinite, or an update too large for float32.
Such a step is skipped inside the compiled step, so that parameters, optimizer and memories stay as
they were, bit for bit.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from avjax.runtime import csv_file
from avjax.runtime.pending_writes import PendingWrites
from avjax.runtime.regular_files import check_appendable
from avjax.runtime.workdir import iter_leaves
from avjax.types import Array, Metrics, Tree

METRIC = "skipped_steps"
RATE_NAMES = ("learning_rate", "peak_value", "init_value")  # Also of Optax's schedules.
MAX_STEPS = 10  # The default of config.max_nonfinite_steps.


def is_finite(loss: Array, grads: Tree, params: Tree, stats: Tree) -> Array:
    """Whether a step may change the state, as a bool scalar.

    The norms of gradients and parameters must be finite, too, in float32: with elements above about
    1e19, whose squares are not, nets give no finite numbers.

    Args:
      loss: a scalar.
      grads, params: gradients, and parameters after the update.
      stats: statistics of the nets after the step.
    """
    finite = jnp.isfinite(loss) & _norm_is_finite(grads) & _norm_is_finite(params)
    for x in _floats(stats):
        finite &= jnp.isfinite(x).all()
    return finite


def _norm_is_finite(tree: Tree) -> Array:
    squares = [
        jnp.sum(jnp.square(x.astype(jnp.promote_types(x.dtype, jnp.float32))))
        for x in _floats(tree)
    ]
    return jnp.isfinite(sum(squares, jnp.zeros(())))


def _floats(tree: Tree) -> list[Array]:
    return [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]


def select(finite: Array, new: Tree, old: Tree) -> Tree:
    """Returns `new` if `finite`, else `old`, which must have the same structure."""
    return jax.tree.map(lambda x, y: jnp.where(finite, x, y), new, old)


class Count:
    """Counts skipped steps in a row; the batches of skipped steps are handed to `write`.

    The metrics of a step are looked at when the next one has been started, so that the device does
    not wait.
    """

    def __init__(
        self,
        limit: int,
        write: Callable[[int, np.ndarray], str],
        show: Callable[[str], None],
        rate_key: str,
    ):
        """Starts to count.

        Args:
          limit: number of skipped steps in a row that ends the run.
          write: (step, rows of this process's batch) -> the name of the file that lists them.
          show: prints a line in process 0.
          rate_key: of the learning rate in the config, for the message.
        """
        self.limit, self.write, self.show, self.rate_key = limit, write, show, rate_key
        self.total = self.in_a_row = 0
        self.last = None

    def add(self, step: int, batch: dict, metrics: Metrics) -> None:
        """Adds a step that was started, and checks the one before.

        Args:
          step: its number.
          batch: its global batch.
          metrics: as the step returns them.

        Raises:
          FloatingPointError: `limit` steps in a row were skipped.
        """
        self.check()
        self.last = step, batch.get("index"), metrics

    def check(self, last: bool = False) -> None:
        """Checks the step that was added last.

        Args:
          last: it is the last one of the run, which is refused also if all its steps were skipped.

        Raises:
          FloatingPointError: as of `add`.
        """
        if self.last is None:
            return
        (step, index, metrics), self.last = self.last, None
        if not np.asarray(metrics.get(METRIC, False)):
            self.in_a_row = 0
            return
        self.total, self.in_a_row = self.total + 1, self.in_a_row + 1
        listed = self.write(step, _local_rows(index))
        what = ", ".join(
            name for name in ("loss", "grad_norm") if not np.isfinite(np.asarray(metrics[name]))
        )
        text = f"step {step}: {what or 'updated parameters'} not finite"
        if self.in_a_row >= (min(self.limit, step) if last else self.limit):
            raise FloatingPointError(message(text, self.in_a_row, listed, self.rate_key))
        if self.total & (self.total - 1) == 0:  # 1, 2, 4, ...: few lines.
            self.show(
                f"{text}: the step is skipped ({self.total} so far, {self.in_a_row} in a row; at "
                f"{self.limit} the run stops); its batch is in {listed}"
            )


def message(text: str, in_a_row: int, listed: str, rate_key: str) -> str:
    """Returns the error of a run that is stopped.

    Args:
      text: what is not finite.
      in_a_row: number of skipped steps.
      listed: the name of the file that lists their batches.
      rate_key: of the learning rate in the config.
    """
    return (
        f"{text}, in {in_a_row} steps in a row (config.max_nonfinite_steps): parameters and "
        f"memories are as before them, the batches are in {listed}; re-run the command to resume "
        f"from the latest checkpoint, with a lower --config.{rate_key} and --allow_changed_config"
    )


def learning_rate_key(config: Mapping) -> str:
    """Returns the dotted key of a config's learning rate, the least nested one."""
    keys = [
        key
        for key, value in iter_leaves(dict(config))
        if key.rpartition(".")[2] in RATE_NAMES and value
    ]
    return min(keys, key=lambda key: key.count("."), default="optimizer.learning_rate")


def _local_rows(index: jax.Array | None) -> np.ndarray:
    """Returns this process's part of the rows of a global batch."""
    if index is None:
        return np.zeros(0, int)
    return np.concatenate([np.asarray(shard.data) for shard in index.addressable_shards])


def batch_writer(
    workdir: str | os.PathLike, records: Sequence[dict], process: int = 0
) -> Callable[[int, np.ndarray], str]:
    """Returns the function `write` of `Count`: it adds lines to a table step, row, path.

    The table is skipped_batches.csv, in process n > 0 skipped_batches-n.csv.

    Args:
      workdir: the folder of the run.
      records: of the training source.
      process: index of this process.
    """
    table = Path(workdir) / (f"skipped_batches-{process}.csv" if process else "skipped_batches.csv")
    append = PendingWrites().appender(table)

    def write(step, rows):
        check_appendable(table)
        head = [] if table.exists() else [("step", "row", "path")]
        lines = [(step, int(row), records[row].get("path", "")) for row in rows]
        append(csv_file.format_rows([*head, *lines]))
        return table.name

    return write
