"""Runs as processes: started, watched step by step, disturbed, and looked at afterwards."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[2]
SAVE_EVERY = 20
TIMEOUT = 300.0  # Seconds until a process that says nothing more counts as hanging.
UNFINISHED = re.compile(r"\.orbax-checkpoint-tmp|\.part$")


class Result(NamedTuple):
    """The outcome of one fault.

    lost: steps that were done again; None if that does not apply.
    """

    part: str
    fault: str
    survived: bool
    lost: int | None = None
    seconds: float = 0.0
    detail: str = ""


class Process:
    """A training run in a process of its own; its lines are read by a thread.

    Args:
      world: folder of the files that it trains on.
      workdir: folder of the run.
      steps: where it ends.
      flags: further flags of `avjax.main`.
      prefix: a command that starts the command of the run.
    """

    def __init__(self, world, workdir, steps, *flags, prefix=()):
        command = [
            *prefix, sys.executable, "-m", "avjax.main", "--config",
            f"benchmarks/chaos_parts/config.py:{world}", "--workdir", str(workdir),
            f"--config.steps={steps}", *flags,
        ]  # fmt: skip
        self.start_time, self.step, self.first_step, self.lines = time.monotonic(), 0, 0, []
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True, errors="replace",
        )  # fmt: skip
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        assert self.process.stdout
        for line in self.process.stdout:
            if found := re.match(r"step (\d+)/", line):
                self.step = int(found[1])
                self.first_step = self.first_step or self.step
            else:
                self.lines.append(line.rstrip())

    def wait_for(self, condition, poll=0.002, timeout=TIMEOUT):
        """Waits for condition(); returns whether it came true before the process ended."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if condition():
                return True
            if self.process.poll() is not None:
                return False
            time.sleep(poll)
        return False

    def wait_for_step(self, step=1):
        """Waits until a step is printed; returns whether the process reached it."""
        return self.wait_for(lambda: self.step >= step)

    def wait_for_line(self, text):
        """Waits until a line holds a text; returns whether one did."""
        return self.wait_for(lambda: any(text in line for line in self.lines))

    def send(self, number):
        """Sends a signal to the process."""
        os.kill(self.process.pid, number)

    def kill(self):
        """Kills the process with SIGKILL, and waits for it; its children end by themselves."""
        self.process.kill()
        return self.wait()

    def wait(self, timeout=TIMEOUT):
        """Waits for the end; returns the exit status, None if it does not end."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            return None
        self.reader.join(10)
        return code

    def text(self):
        """The last lines that are not steps."""
        return " | ".join(self.lines[-4:])


def children(pid):
    """Returns the pids of all descendants of a process (Linux)."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
        if parent == pid:
            found += [int(path.parent.name), *children(int(path.parent.name))]
    return found


def unfinished(workdir, before):
    """Returns the files and folders of saves that were not finished before a time.time()."""
    found = set()
    for path in pathlib.Path(workdir).rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # A live run renames them.
            if UNFINISHED.search(path.name) and path.stat().st_mtime < before:
                found.add(path)
    return found


def newest_saved(workdir):
    """Returns the newest step with a complete checkpoint; 0 without one."""
    from avjax.runtime import verified_steps

    return verified_steps.find_verified(pathlib.Path(workdir) / "checkpoints")[0] or 0


def last_logged(workdir):
    """Returns the last step in metrics.csv, which has every step; 0 without one."""
    from avjax.runtime import metrics_writer

    return max((step for step, _, _ in metrics_writer.read_rows(workdir)), default=0)


def parameters_hash(workdir):
    """Returns a hash of the files that hold the arrays: equal only if all bits are."""
    import hashlib

    import jax
    import numpy as np

    from avjax.runtime import checkpoint, sharding

    with jax.set_mesh(sharding.mesh()):
        saved = checkpoint.restore_latest(workdir)
    digest = hashlib.blake2b(digest_size=16)
    for leaf in jax.tree.leaves(jax.tree.map(_bits, saved)):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _bits(leaf):
    import jax
    import numpy as np

    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)
