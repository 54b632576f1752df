"""Runs N processes of avjax on this machine, as N hosts of a cluster would.

    python launch/local.py --processes 2 --devices 2 -- --config configs/smoke.py --workdir runs/two

What stands after -- are arguments of avjax.main.  Every line of output begins with the number of
its process.  If a process fails, the others are ended: SIGTERM, and SIGKILL after
--grace_seconds.  Ctrl-C, SIGTERM and SIGUSR1 are passed on to every process.  The exit code is
that of the process that failed first, 128 + N for signal N.
"""

import argparse
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import flags

SAVED = 75  # Exit code of avjax: saved, and wants to be started again.
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the flags."""
    p = flags.parser(__doc__, "print the commands; start nothing", "the module")
    add = p.add_argument
    add("--processes", type=int, required=True, metavar="N", help="how many processes")
    add("--devices", type=int, metavar="N", help="simulated CPU devices per process (1)")
    add("--port", type=int, default=0, help="port of process 0 (0: a free one)")
    add("--module", default="avjax.main", help="module to run (avjax.main)")
    add("--grace_seconds", type=float, default=30, help="from SIGTERM to SIGKILL (30)")
    return p


def commands(args: argparse.Namespace, port: int) -> list[list[str]]:
    """Returns the command of each process."""
    return [
        [
            *(sys.executable, "-m", args.module, *args.arguments),
            f"--coordinator=127.0.0.1:{port}",
            f"--process_id={n}",
            f"--process_count={args.processes}",
        ]
        for n in range(args.processes)
    ]


def environment(args: argparse.Namespace) -> dict[str, str]:
    """Returns the variables that are set for every process."""
    simulated = {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(args.devices)}
    return {"PYTHONUNBUFFERED": "1", **(simulated if args.devices else {})}


def free_port() -> int:
    """Returns a port of this machine that nothing uses now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def print_lines(prefix: str, process: subprocess.Popen) -> None:
    """Prints the output of a process, a prefix before every line."""
    assert process.stdout is not None
    for line in process.stdout:
        # One write: lines of several processes do not mix.
        sys.stdout.write(prefix + line.rstrip("\r\n") + "\n")
        sys.stdout.flush()


def send(processes: Sequence[subprocess.Popen], number: int) -> None:
    """Sends a signal to the processes that are still running."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)


def wait(processes: Sequence[subprocess.Popen], grace: float) -> int:
    """Waits for all processes; ends the others if one fails.

    Returns:
      the exit code of the process that failed first, 0 if none did.
    """
    first, deadline = 0, float("inf")
    while True:
        codes = [process.poll() for process in processes]
        failed = [code for code in codes if code]
        if failed and not first:
            first, deadline = failed[0], time.monotonic() + grace
            if None in codes:
                print(f"a process ended with {first}, the others will end too", file=sys.stderr)
            if first != SAVED:  # After 75 they are saving already.
                send(processes, signal.SIGTERM)
        if None not in codes:
            return first if first >= 0 else 128 - first
        if time.monotonic() > deadline:
            send(processes, signal.SIGKILL)
        time.sleep(0.05)


def main(argv: list[str] | None = None) -> int:
    """Starts the processes, prints their output and returns the exit code."""
    args = parser().parse_args(argv)
    lines, extra = commands(args, args.port or free_port()), environment(args)
    if args.dry_run:
        for line in lines:
            print(*(f"{name}={value}" for name, value in extra.items()), shlex.join(line))
        return 0
    processes: list[subprocess.Popen] = []
    for number in PASSED_ON:
        signal.signal(number, lambda received, _: send(processes, received))
    for line in lines:
        processes.append(
            subprocess.Popen(
                line,
                env=os.environ | extra,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="backslashreplace",
                start_new_session=True,  # Ctrl-C reaches them through this program only.
            )
        )
    readers = [
        threading.Thread(target=print_lines, args=(f"[{n}] ", process), daemon=True)
        for n, process in enumerate(processes)
    ]
    for reader in readers:
        reader.start()
    code = wait(processes, args.grace_seconds)
    for reader in readers:
        reader.join(timeout=5)  # A process that one of them left may hold its output open.
    return code


if __name__ == "__main__":
    sys.exit(main())
