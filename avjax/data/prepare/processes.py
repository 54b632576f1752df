"""Writes shards in processes of this machine; avjax.data.prepare.beam does so on others."""

from collections.abc import Callable

from avjax.data.workers import prefetch
from avjax.runtime import thread_pool
from avjax.runtime.progress import progress


def run(
    write: Callable, num_files: dict[int, int], num_processes: int | None, timeout: float
) -> None:
    """Calls write(number, blocked, heartbeat) for each shard, with a progress bar.

    Args:
      write: a function as in avjax.data.workers.pool.
      num_files: {number of a shard: how many files it has}.
      num_processes: None for one per core.
      timeout: seconds, see avjax.data.workers.pool.
    """
    if not num_files:
        return
    num_processes = num_processes or prefetch.num_cores()

    def write_shard(number):
        call(number)  # Of the pool below.
        return number

    with thread_pool.completed(write_shard, num_files, num_processes) as numbers:
        # Closed first, after an error or Ctrl-C: the threads then have nothing to wait for.
        with prefetch.pool(write, num_processes, timeout=timeout) as call:
            counted = (None for number in numbers for _ in range(num_files[number]))
            for _ in progress(counted, sum(num_files.values()), "preparing"):
                pass
