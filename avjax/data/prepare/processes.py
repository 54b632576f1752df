"""Writes shards in processes of this machine; avjax.data.prepare.beam does so on others."""

import concurrent.futures
from collections.abc import Callable

from avjax.data.workers import prefetch
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
    with concurrent.futures.ThreadPoolExecutor(num_processes) as threads:
        # Closed first, after an error or Ctrl-C: the threads then have nothing to wait for.
        with prefetch.pool(write, num_processes, timeout=timeout) as call:
            jobs = {threads.submit(call, i): i for i in num_files}
            try:
                done = (jobs[j] for j in concurrent.futures.as_completed(jobs) if not j.result())
                counted = (None for i in done for _ in range(num_files[i]))
                for _ in progress(counted, sum(num_files.values()), "preparing"):
                    pass
            finally:
                for job in jobs:
                    job.cancel()
