"""Damaged side files, second writers, signals and a full disk, on runs as processes."""

import os
import random
import shutil
import signal
import subprocess
import time

from benchmarks.chaos_parts import damage, processes
from benchmarks.chaos_parts.processes import SAVE_EVERY, Process, Result

FLAGS = ("--config.log_every=1", f"--config.save_every={SAVE_EVERY}")
NAMES = ("metrics.csv", "config.json", "run.json", "data.json.gz", "run.lock")
MOUNT = 'mount -t tmpfs -o size=4m tmpfs {} && exec "$@"'
SIGNALS = {"SIGTERM": 75, "SIGUSR1": 75, "SIGINT": 130}


def side_files(world, finished, folder, rounds, seed):
    """Yields a Result for each damaged file beside the checkpoints: the run resumes and ends."""
    rng, kinds = random.Random(seed), list(damage.SIDE_FILES)
    saved = processes.newest_saved(finished)
    for number in range(rounds):
        workdir = folder / f"side-{number}"
        shutil.copytree(finished, workdir)
        name, kind = NAMES[number % len(NAMES)], kinds[number // len(NAMES) % len(kinds)]
        damage.damage_side_file(workdir, name, kind, rng)
        process = Process(world, workdir, saved + SAVE_EVERY, *FLAGS)
        code = process.wait()
        good = code == 0 and process.first_step == saved + 1
        good &= processes.newest_saved(workdir) == saved + SAVE_EVERY
        detail = "" if good else f"exit status {code}: {process.text()}"
        yield Result("side files", f"{name}: {kind}", good, 0, 0.0, detail)
        shutil.rmtree(workdir)


def writers(world, folder, rounds, seed):
    """Yields a Result for each second process in the folder of a live run, and of a dead one."""
    workdir = folder / "writers"
    first = Process(world, workdir, 10**6, *FLAGS)
    first.wait_for_step()
    for _ in range(rounds):
        second = Process(world, workdir, 10**6, *FLAGS)
        code = second.wait()
        seconds, step = time.monotonic() - second.start_time, first.step
        goes_on = first.wait_for_step(step + SAVE_EVERY + 1)
        named = any(str(first.process.pid) in line for line in second.lines)
        good = code not in (0, None) and named and goes_on
        yield Result("writers", "second writer", good, 0, seconds, "" if good else second.text())
    first.kill()
    third = Process(world, workdir, 10**6, *FLAGS)
    good = third.wait_for_step()
    third.kill()
    yield Result("writers", "lock of a dead process", good, 0, 0.0, "" if good else third.text())


def readers(world, folder, rounds, seed):
    """Yields a Result for each time that a live run is read, which deletes what is being read."""
    import jax

    from avjax.runtime import checkpoint, sharding

    workdir, newest = folder / "readers", 0
    process = Process(world, workdir, 10**6, "--config.save_every=5", "--config.log_every=5")
    process.wait_for_step(4 * SAVE_EVERY)
    with jax.set_mesh(sharding.mesh()):
        for _ in range(rounds):
            try:
                step, detail = int(checkpoint.restore_latest(workdir)["step"]), ""
            except Exception as error:  # Any: it is what is reported.
                step, detail = 0, f"{type(error).__name__}: {error}"
            yield Result("readers", "read a live run", step > 0 and step >= newest, detail=detail)
            newest = max(newest, step)
    process.kill()


def signals(world, folder, rounds, seed):
    """Yields a Result for each signal: saved at that step, its exit status, no step lost."""
    rng, workdir, before = random.Random(seed), folder / "signals", 0
    for number in range(rounds):
        name = list(SIGNALS)[number % len(SIGNALS)]
        compiling = number % 4 == 3  # Else in training.
        process = Process(world, workdir, 10**6, *FLAGS)
        if compiling:
            process.wait_for_line("compiling the training")
        else:
            target = before + rng.randrange(1, 2 * SAVE_EVERY)
            process.wait_for_step(target)
        process.send(getattr(signal, name))
        start_time = time.monotonic()
        code = process.wait()
        seconds = time.monotonic() - start_time
        saved, done = processes.newest_saved(workdir), processes.last_logged(workdir)
        resumed = process.first_step - 1 if process.first_step else before
        good = code == SIGNALS[name] and saved == max(done, before) and resumed == before
        where = "compiling" if compiling else "training"
        detail = "" if good else f"exit status {code}, {done} done, {saved} saved: {process.text()}"
        yield Result("signals", f"{name} while {where}", good, done - saved, seconds, detail)
        before = saved


def full_disk(world, folder, rounds, seed):
    """Yields a Result for each time that the disk is full for a while: the run goes on.

    The folder of the run is a file system in memory, mounted in a name space of its own.
    """
    for number in range(rounds):
        workdir = folder / f"disk-{number}"
        workdir.mkdir()
        process = Process(
            f"{world}@0.01", workdir / "run", 10**6, *FLAGS,
            prefix=["unshare", "-m", "sh", "-c", MOUNT.format(workdir), "sh"],
        )  # fmt: skip
        inside = f"/proc/{process.process.pid}/root{workdir}"
        process.wait_for_step(2 * SAVE_EVERY + SAVE_EVERY // 2)
        _fill(f"{inside}/full")
        told = process.wait_for_line("failure 2 in a row")
        if process.process.poll() is None:
            os.unlink(f"{inside}/full")
        step = process.step
        good = told and process.wait_for_step(step + 3 * SAVE_EVERY + 1)
        saved = processes.newest_saved(f"{inside}/run") if good else 0
        lines = sum("not saved" in line for line in process.lines)
        good = good and saved > step and lines == 2
        detail = f"told in {lines} lines" if good else process.text()
        process.kill()
        yield Result("disk", "full for two saves", bool(good), 0, 0.0, detail)


def _fill(path):
    """Fills a file system with a file."""
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def can_mount():
    """Whether this user may mount a file system in a name space of its own."""
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False
