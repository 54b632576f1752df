"""Writing shards in processes of this machine; avjax.data.prepare.beam does so on others."""

import concurrent.futures
from collections.abc import Callable

from avjax.data.workers import prefetch
from avjax.runtime.progress import progress


def run(write: Callable, files: dict[int, int], count: int | None, deadline: float) -> None:
    """Calls write(number, barred, announce) for each number of a shard, and shows how far it is.

    Args:
      files: {number: how many files the shard has}.
      count: of processes; None for one per core.
      deadline: seconds, see avjax.data.workers.pool.
    """
    if not files:
        return
    count = count or prefetch.cores()
    with concurrent.futures.ThreadPoolExecutor(count) as threads:
        # Closed first, after an error or Ctrl-C: the threads then have nothing to wait for.
        with prefetch.pool(write, count, deadline=deadline) as call:
            jobs = {threads.submit(call, i): i for i in files}
            try:
                done = (jobs[j] for j in concurrent.futures.as_completed(jobs) if not j.result())
                counted = (None for i in done for _ in range(files[i]))
                for _ in progress(counted, sum(files.values()), "preparing"):
                    pass
            finally:
                for job in jobs:
                    job.cancel()
