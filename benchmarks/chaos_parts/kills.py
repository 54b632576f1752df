"""SIGKILL at random moments, half of them in saves: the run resumes, and ends as if undisturbed."""

import random
import time

from benchmarks.chaos_parts import processes
from benchmarks.chaos_parts.processes import SAVE_EVERY, Process, Result

DELAY = 0.25  # Most seconds between a moment that was waited for and the kill.
MOMENTS = ("step", "save", "step", "manifest")  # Half of them in saves.
FLAGS = ("--config.log_every=1", f"--config.save_every={SAVE_EVERY}")


def run(world, folder, rounds, seed, compare=True, wait=True):
    """Yields a Result for each kill, and one for the final state.

    A kill may cost the steps since the last complete checkpoint: at most SAVE_EVERY if the run
    waits for its saves, else also those that were done while a checkpoint was written.

    Args:
      world: folder of the files.
      folder: for the runs.
      rounds: how many kills.
      seed: of their moments.
      compare: also train an undisturbed run, to the same step, and compare all bits.
      wait: whether the run waits until a checkpoint is complete.
    """
    part = "sigkill" if wait else "sigkill_async"
    rng, workdir = random.Random(seed), folder / part
    most = SAVE_EVERY if wait else 2 * SAVE_EVERY  # A save waits for the end of the one before.
    flags = (*FLAGS, f"--config.async_checkpointing={not wait}")
    before = 0
    for number in range(rounds):
        moment = MOMENTS[number % len(MOMENTS)]
        start = time.time()
        process = Process(world, workdir, 10**6, *flags)
        survived = process.wait_for_step()
        seconds = time.monotonic() - process.start_time
        left = processes.unfinished(workdir, start)
        resumed = process.first_step - 1
        reached = survived and _wait_for_moment(process, workdir, moment, rng)
        process.kill()
        done, saved = processes.last_logged(workdir), processes.newest_saved(workdir)
        good = reached and resumed == before and not left and done - saved <= most
        detail = "" if good else f"resumed {resumed} of {before}, left {left}: {process.text()}"
        yield Result(part, f"kill in {moment}", bool(good), done - saved, seconds, detail)
        before = saved
    if compare:
        yield _compare(world, folder / f"undisturbed_{part}", workdir, before + SAVE_EVERY)


def _wait_for_moment(process, workdir, moment, rng):
    """Waits for a random moment: of a step, while a save is under way, or before its manifest."""
    checkpoints, target = workdir / "checkpoints", process.step + rng.randrange(5, 2 * SAVE_EVERY)
    if not process.wait_for_step(target):
        return False
    if moment == "step":
        return not process.wait_for(lambda: False, timeout=rng.random() * DELAY)
    if moment == "save":
        found = process.wait_for(lambda: any(checkpoints.glob("*.orbax-checkpoint-tmp")), 0.0005)
        process.wait_for(lambda: False, timeout=rng.random() * 0.05)
        return found
    return process.wait_for(lambda: _lacks_manifest(checkpoints), 0.0005)


def _lacks_manifest(checkpoints):
    """Whether Orbax has renamed a checkpoint that has no manifest yet."""
    return any(
        path.name.isdecimal() and not (path / "manifest.json").exists()
        for path in checkpoints.iterdir()
    )


def _compare(world, undisturbed, workdir, steps):
    """Trains the killed run and an undisturbed one to the same step, and compares all bits."""
    codes, hashes = [], []
    for run_folder in (workdir, undisturbed):
        codes.append(Process(world, run_folder, steps, *FLAGS).wait(timeout=3600))
        hashes.append(processes.parameters_hash(run_folder))
    same = hashes[0] == hashes[1]
    detail = f"step {steps}: " + ("all bits equal" if same else "another state")
    return Result(workdir.name, "final state", same and codes == [0, 0], None, 0.0, detail)
