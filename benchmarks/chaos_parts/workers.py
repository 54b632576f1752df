"""Decoding workers that are killed or stopped, a stopped run, and one that hangs."""

import os
import random
import signal
import time

from benchmarks.chaos_parts import processes
from benchmarks.chaos_parts.processes import SAVE_EVERY, Process, Result

FLAGS = (
    "--config.log_every=1", f"--config.save_every={SAVE_EVERY}", "--config.data.train.workers=2",
    "--config.data.train.timeout=3",
)  # fmt: skip
FAULTS = {"SIGKILL of a worker": signal.SIGKILL, "SIGSTOP of a worker": signal.SIGSTOP}
HUNG = 86  # Exit status of a run that its watchdog ended.


def run(world, folder, rounds, seed):
    """Yields a Result for each worker that is killed or stopped, and one for the losses.

    The losses of all steps must be those of an undisturbed run, to the last bit.
    """
    rng, workdir = random.Random(seed), folder / "workers"
    process = Process(world, workdir, 10**6, *FLAGS)
    process.wait_for_step()
    for number in range(rounds):
        name, chosen = list(FAULTS.items())[number % len(FAULTS)]
        target = process.step + rng.randrange(2, SAVE_EVERY)
        process.wait_for_step(target)
        send_to_worker(process, chosen, rng)
        step, start_time = process.step, time.monotonic()
        good = process.wait_for_step(step + 50 + 1)  # Beyond the prefetch.
        seconds = time.monotonic() - start_time
        yield Result("workers", name, good, 0, seconds, "" if good else process.text())
    process.send(signal.SIGSTOP)
    time.sleep(2)
    process.send(signal.SIGCONT)
    step = process.step
    good = process.wait_for_step(step + SAVE_EVERY + 1)
    yield Result("workers", "SIGSTOP of the run for 2 s", good)
    yield from _killed(process, world, folder, workdir)


def _killed(process, world, folder, workdir):
    """Kills the run: its workers end; then compares its losses with those of another run."""
    pids = processes.children(process.process.pid)
    process.kill()
    time.sleep(5)
    left = [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
    yield Result(
        "workers", "processes left 5 s after SIGKILL", not left, detail=f"{left}" * bool(left)
    )
    steps = min(processes.last_logged(workdir), 1000)
    other = folder / "undisturbed-workers"
    Process(world, other, steps, *FLAGS[:2]).wait(timeout=3600)
    same = _losses(workdir, steps) == _losses(other, steps)
    yield Result(
        "workers", "losses", same, detail=f"{steps} steps: " + ("equal" if same else "other")
    )


def hang(world, folder, rounds, seed):
    """Yields a Result for each run whose batches never come: the watchdog ends it."""
    for number in range(rounds):
        workdir = folder / f"hang-{number}"
        flags = (*FLAGS[:3], "--config.data.train.timeout=1000", "--config.watchdog=5")
        process = Process(world, workdir, 10**6, *flags)
        process.wait_for_step(3 * SAVE_EVERY + 1)
        for pid in _workers(process):
            os.kill(pid, signal.SIGSTOP)
        start_time = time.monotonic()
        code = process.wait(60)
        seconds = time.monotonic() - start_time
        stacks = (workdir / "stacks.txt").exists()
        again = Process(world, workdir, 10**6, *FLAGS[:2])
        resumed = again.wait_for_step()
        again.kill()
        good = code == HUNG and stacks and resumed
        detail = "" if good else f"exit status {code}: {process.text()}"
        lost = processes.last_logged(workdir) - again.first_step
        yield Result("hang", "all workers stopped", good, max(lost, 0), seconds, detail)


def _workers(process):
    """Returns the pids of the decoding workers: the children of the fork server."""
    descendants = processes.children(process.process.pid)
    return [pid for pid in descendants if not processes.children(pid)]


def send_to_worker(process, number, rng):
    pids = _workers(process)
    if pids:
        os.kill(rng.choice(pids), number)


def _losses(workdir, steps):
    """Returns {step: loss} up to a step."""
    from avjax.runtime import metrics_writer

    rows = metrics_writer.read_rows(workdir)
    return {step: value for step, name, value in rows if name == "loss" and step <= steps}
