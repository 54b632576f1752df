"""Long runs: goodput under twenty faults, and the memory of many thousand steps."""

import os
import random
import re
import shutil
import signal
import time

import numpy as np
from scipy import stats

from benchmarks.chaos_parts import damage, processes, workers
from benchmarks.chaos_parts.processes import Process, Result

WARM_UP = 3000  # Steps until caches are full; the slope is that of the steps after them.
PAGE = os.sysconf("SC_PAGE_SIZE")
STEP_SECONDS = 0.01  # For each of the eight clips of a step, in two workers.
SCRIPT = (
    *("SIGKILL", "SIGKILL of a worker", "SIGTERM", "SIGKILL", "SIGSTOP of a worker") * 2,
    *("SIGKILL", "SIGKILL of a worker", "SIGUSR1", "SIGKILL of a worker", "damaged checkpoint") * 2,
)  # Twenty.


def goodput(world, folder, steps, seed):
    """Yields a Result for each of twenty faults, and one for the goodput.

    Goodput is the share of the steps taken that count: those of the finished run, divided by these
    and the ones that were done again.  Restarts do not count, as they take as long for a step of
    a millisecond as for one of a second; their seconds are in the last line.
    """
    rng, workdir = random.Random(seed), folder / "goodput"
    flags = (
        "--config.log_every=1", "--config.save_every=5", "--config.data.train.workers=2",
        "--config.data.train.timeout=3",
    )  # fmt: skip
    start_time, redone, restarts = time.monotonic(), 0, 0.0
    process = Process(f"{world}@{STEP_SECONDS}", workdir, steps, *flags)
    process.wait_for_step()
    restarts += time.monotonic() - start_time
    for number, fault in enumerate(SCRIPT):
        good = process.wait_for_step((number + 1) * steps // (len(SCRIPT) + 1) + rng.randrange(10))
        if fault.endswith("of a worker"):
            workers.send_to_worker(process, getattr(signal, fault.split()[0]), rng)
            yield Result("goodput", fault, good, 0)
            continue
        process.send(getattr(signal, fault, signal.SIGKILL))
        process.wait()
        done = processes.last_logged(workdir)
        if fault == "damaged checkpoint":
            place = workdir / "checkpoints" / str(processes.newest_saved(workdir))
            damage.damage(
                [path for path in place.rglob("d/*") if path.is_file()], "flip a bit", rng
            )
        process = Process(f"{world}@{STEP_SECONDS}", workdir, steps, *flags)
        good &= process.wait_for_step()
        restarts += time.monotonic() - process.start_time
        lost = done - (process.first_step - 1)
        redone += lost
        yield Result("goodput", fault, bool(good), lost, detail="" if good else process.text())
    good = process.wait() == 0 and processes.newest_saved(workdir) == steps
    training = time.monotonic() - start_time - restarts
    share = steps / (steps + redone)
    detail = (
        f"{share:.3f}: {steps} steps, {redone} done again; {training:.0f} s of training and "
        f"{restarts:.0f} s of starts"
    )
    yield Result(
        "goodput", f"{len(SCRIPT)} faults", good and share >= 0.95, redone, training, detail
    )


def soak(world, folder, steps, seed, save_every=50):
    """Yields one Result: the slope of the memory and the descriptors of an undisturbed run."""
    workdir = folder / f"soak-{save_every}"
    process = Process(
        world, workdir, steps, "--config.log_every=100", f"--config.save_every={save_every}"
    )
    rows, seen = [], 0
    before = set(os.listdir("/dev/shm"))
    while process.process.poll() is None:
        if process.step != seen:
            seen = process.step
            try:
                rows.append((seen, *_usage(process.process.pid)))
            except (OSError, IndexError):
                break  # It has ended.
        time.sleep(0.02)
    code = process.wait()
    step, memory, descriptors = np.array(rows, float).T
    late = step >= min(WARM_UP, steps // 3)
    # The median of the slopes between all pairs: a table that doubles once does not count.
    slope = stats.theilslopes(memory[late] / 2**20, step[late] / 1000)[0]
    grown = (memory[late][-1] - memory[late][0]) / 2**20
    first, last = (np.median(part) for part in np.array_split(descriptors[late], 2))
    left = set(os.listdir("/dev/shm")) - before
    good = code == 0 and slope < 1 and abs(last - first) <= 2 and not left
    detail = (
        f"{steps} steps, a save every {save_every}: {slope:+.2f} MB per 1,000 steps, "
        f"{grown:+.1f} MB from step {step[late][0]:.0f} on, "
        f"{memory[-1] / 2**20:.0f} MB; descriptors {first:.0f} -> {last:.0f}; "
        f"/dev/shm {left or 'empty'}"
    )
    yield Result("soak", "no fault", bool(good), detail=detail)
    shutil.rmtree(workdir)


def _usage(pid):
    """Returns (resident bytes, open descriptors) of a process (Linux)."""
    with open(f"/proc/{pid}/statm") as file:
        return int(re.split(r"\s", file.read())[1]) * PAGE, len(os.listdir(f"/proc/{pid}/fd"))
