"""Runs several processes as the hosts of a run, for tests."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CONFIG = "tests/hosts/config.py"
SECONDS = float(os.environ.get("HOSTS_LIMIT", 900))  # Of one start; longer is a hang.


def free_port():
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]


def start(
    world, folder, count, devices=1, moment=None, rank=0, module="tests.hosts.process",
    extra=(f"--config={CONFIG}",), **variables,
):  # fmt: skip
    """Starts `count` processes; the signal of `moment` comes from process `rank`."""
    port, processes = free_port(), []
    for n in range(count):
        env = os.environ | {
            "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices), "HOSTS_WORLD": str(world),
            "HOSTS_MOMENT": moment if moment and n == rank else "", "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        env |= {name: str(value) for name, value in variables.items()}
        arguments = [f"--workdir={folder}", *extra]
        if count > 1:
            arguments += [f"--coordinator=localhost:{port}", f"--process_id={n}"]
            arguments += [f"--process_count={count}"]
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT, env=env, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )
        )  # fmt: skip
    return processes


def wait(processes, seconds=SECONDS):
    """Waits for all; returns [(exit status, output, seconds from its signal or the others')]."""
    deadline, ends = time.monotonic() + seconds, {}
    # The outputs are short: no pipe is full.
    while len(ends) < len(processes) and time.monotonic() < deadline:
        for n, process in enumerate(processes):
            if n not in ends and process.poll() is not None:
                ends[n] = time.monotonic()
        time.sleep(0.05)
    for process in processes:
        if process.poll() is None:
            process.kill()
    found = [(process.returncode, process.stdout.read()) for process in processes]
    for process in processes:
        process.stdout.close()
        process.wait()
    if len(ends) < len(processes):
        raise AssertionError(f"hang: {found}")
    at = [float(t) for _, text in found for t in re.findall(r"reached .* at (.*)", text)]
    begin = at[0] if at else max(ends.values())
    return [(status, text, ends[n] - begin) for n, (status, text) in enumerate(found)]


def run(*args, **options):
    """Runs all and returns what they printed; they must end with 0."""
    found = wait(start(*args, **options))
    assert [status for status, *_ in found] == [0] * len(found), found
    return [text for _, text, _ in found]


def kill_when_others_ended(processes, frozen):
    """Kills a process that does not run, when the others have ended."""
    for n, process in enumerate(processes):
        if n != frozen:
            process.wait(SECONDS)
    processes[frozen].kill()
