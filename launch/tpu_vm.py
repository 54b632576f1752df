"""Runs avjax on a Cloud TPU, allocated as a queued resource, until the run has finished.

    python launch/tpu_vm.py train --name avid --zone us-west4-a --accelerator v5litepod-256 \\
        --runtime v2-alpha-tpuv5-lite --spot \\
        -- --config configs/avid_kinetics.py --config.data.root=/data/k400 --workdir /data/runs/avid

  create   asks for the TPU
  wait     waits until it is allocated
  setup    copies the last commit of this checkout to every worker and installs it
  run      runs avjax.main on every worker, with what stands after --
  delete   gives the TPU back
  train    all of these; a TPU that was taken away is deleted, asked for and set up again
  status   prints the state of the TPU

--dry_run prints the commands.  A TPU costs money until it is deleted: train deletes it when the run
has finished or failed, unless --keep is given, and Ctrl-C leaves it.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time

import flags
import tpu_vm_commands
from interrupts import interrupts_deferred

SAVED = 75  # Exit code of avjax: saved, and wants to be started again.
CONNECTION_LOST = 255  # Exit code of ssh.
LOST = ("SUSPENDING", "SUSPENDED", "FAILED", "DELETING", "ABSENT")
ACTIONS = ("create", "wait", "setup", "run", "delete", "train", "status")


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the flags."""
    p = flags.parser(__doc__, "print the commands; run nothing")
    add = p.add_argument
    add("action", choices=ACTIONS, help="what to do, see above")
    add("--name", required=True, help="name of the queued resource, and prefix of its nodes")
    add("--zone", required=True, help="zone, e.g. us-west4-a")
    add("--project", help="project (that of gcloud)")
    add("--accelerator", default="v5litepod-8", metavar="TYPE", help="e.g. v5litepod-256")
    add("--runtime", default="v2-alpha-tpuv5-lite", metavar="VERSION", help="software of the VMs")
    add("--slices", type=int, default=1, metavar="N", help="slices (1)")
    add("--spot", action="store_true", help="cheaper, and may be taken away at any time")
    add("--option", action="append", default=[], metavar="=--FLAG=VALUE",
        help="any other option of gcloud's create, e.g. --option=--reserved")  # fmt: skip
    add("--setup_script", default=tpu_vm_commands.SETUP_SCRIPT, metavar="FILE",
        help="script that each worker runs first (launch/tpu_vm_setup.sh)")  # fmt: skip
    add("--max_restarts", type=int, default=20, metavar="N", help="new starts by train (20)")
    add("--poll_seconds", type=float, default=30, metavar="S", help="between two looks (30)")
    add("--keep", action="store_true", help="train does not delete the TPU")
    return p


def call(command: list[str]) -> int:
    """Prints a command, runs it and returns its exit code."""
    print("+", shlex.join(command), flush=True)
    return subprocess.run(command).returncode


def check(command: list[str]) -> None:
    """Runs a command; ends the program if it fails."""
    if code := call(command):
        sys.exit(f"{command[0]} failed with exit code {code}")


def read_state(args: argparse.Namespace) -> str:
    """Returns the state of the queued resource; ABSENT if there is none.

    Raises:
      SystemExit: gcloud fails five times in a row.
    """
    done = None
    for _ in range(5):
        done = subprocess.run(tpu_vm_commands.state_command(args), capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout.strip()
        if "NOT_FOUND" in done.stderr:
            return "ABSENT"
        time.sleep(args.poll_seconds)
    assert done is not None
    sys.exit(f"gcloud describe failed five times: {done.stderr.strip()}")


def wait(args: argparse.Namespace) -> str:
    """Waits until the TPU is allocated, or will not be; returns its state."""
    before = ""
    while True:
        state = read_state(args)
        if state != before:
            print(f"{args.name} is {state}", flush=True)
        if state == "ACTIVE" or state in LOST:
            return state
        before = state
        time.sleep(args.poll_seconds)


def setup(args: argparse.Namespace, archive: str) -> int:
    """Copies the checkout to all workers and installs it; returns the exit code.

    Args:
      args: the flags.
      archive: file of the checkout; it is written unless it exists.
    """
    write, *install = tpu_vm_commands.setup_commands(args, archive)
    for command in install if os.path.exists(archive) else [write, *install]:
        if code := call(command):
            return code
    return 0


def run(args: argparse.Namespace) -> int:
    """Runs avjax on all workers; returns its exit code, 255 if the TPU was taken away."""
    command = tpu_vm_commands.run_command(args)
    print("+", shlex.join(command), flush=True)
    process = None
    try:
        with interrupts_deferred():  # Else a Ctrl-C just now would leave a process behind.
            process = subprocess.Popen(command)
        while True:
            try:
                return process.wait(timeout=args.poll_seconds)
            except subprocess.TimeoutExpired:
                if read_state(args) in LOST:  # A connection to a lost machine may hang for long.
                    return CONNECTION_LOST
    finally:
        if process is not None:
            process.terminate()
            process.wait()


def allocate(args: argparse.Namespace) -> bool:
    """Asks for the TPU unless it is there, and waits for it.

    Returns:
      whether it is new.

    Raises:
      SystemExit: it was not allocated within the restarts.
    """
    state, new = read_state(args), False
    for _ in range(args.max_restarts + 1):
        if state in LOST:
            new = True
            if state != "ABSENT":
                check(tpu_vm_commands.delete_command(args))
            check(tpu_vm_commands.create_command(args))
        if (state := wait(args)) == "ACTIVE":
            return new
    sys.exit(f"{args.name} is {state} after {args.max_restarts + 1} requests")


def train(args: argparse.Namespace, archive: str) -> int:
    """Runs avjax until it has finished, on a new TPU whenever one was taken away.

    Args:
      args: the flags.
      archive: file that is written once, so that a new TPU gets the same code.

    Returns:
      the exit code of the last run.
    """
    ready, code = False, CONNECTION_LOST
    for _ in range(args.max_restarts + 1):
        new = allocate(args)
        code = 0 if ready and not new else setup(args, archive)
        ready = code == 0
        if ready:
            code = run(args)
        if not code:
            break
        time.sleep(args.poll_seconds)  # The state may follow a little later.
        lost = read_state(args) in LOST
        print(f"exit code {code}, {args.name} is {'lost' if lost else 'there'}", flush=True)
        if not lost and code not in (SAVED, CONNECTION_LOST):
            break
    if not args.keep:
        check(tpu_vm_commands.delete_command(args))
    return code


def print_commands(args: argparse.Namespace) -> None:
    """Prints the commands of the action, with an archive in the current folder."""
    found = {
        "create": [tpu_vm_commands.create_command(args)],
        "wait": [tpu_vm_commands.state_command(args)],
        "setup": tpu_vm_commands.setup_commands(args, tpu_vm_commands.ARCHIVE),
        "run": [tpu_vm_commands.run_command(args)],
        "delete": [tpu_vm_commands.delete_command(args)],
    }
    found |= {"train": sum(found.values(), []), "status": found["wait"]}
    for command in found[args.action]:
        print(shlex.join(command))


def act(args: argparse.Namespace, archive: str) -> int:
    """Does what the action says and returns the exit code.

    Args:
      args: the flags.
      archive: file for the checkout.
    """
    try:
        match args.action:
            case "create":
                return call(tpu_vm_commands.create_command(args))
            case "wait":
                return 0 if wait(args) == "ACTIVE" else 1
            case "setup":
                return setup(args, archive)
            case "run":
                return run(args)
            case "delete":
                return call(tpu_vm_commands.delete_command(args))
            case "status":
                print(read_state(args))
                return 0
            case _:
                return train(args, archive)
    except (KeyboardInterrupt, SystemExit) as stop:
        remedy = shlex.join(tpu_vm_commands.delete_command(args))
        print(f"\n{args.name} may still be allocated: {remedy}", file=sys.stderr)
        if isinstance(stop, SystemExit):
            raise
        return 130


def main(argv: list[str] | None = None) -> int:
    """Does what the action says and returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    at = words.index("--") if "--" in words else len(words)
    args = parser().parse_args(words[:at])
    args.arguments = words[at + 1 :]
    if args.action in ("run", "train") and not args.arguments:
        sys.exit(f"{args.action}: give the arguments of avjax.main after --")
    if args.dry_run:
        print_commands(args)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return act(args, os.path.join(folder, tpu_vm_commands.ARCHIVE))


if __name__ == "__main__":
    sys.exit(main())
