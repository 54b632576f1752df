"""Checks avjax on an accelerator and measures it against PyTorch, in eight minutes.

    python benchmarks/accelerator.py --out results     # a GPU, or a TPU (without PyTorch's side)
    python benchmarks/accelerator.py --out results --parts loss,strided
    python benchmarks/accelerator.py --dry             # every part at tiny sizes, on a CPU

Each part is a process with a time limit of its own, so one that hangs, crashes or runs out of
memory loses only itself.  Rows are printed, and written to `accelerator.jsonl` and
`accelerator.md` below --out, as soon as they are known; what the processes print on standard error
is in `accelerator.log`.  The exit code is 1 if a check failed or a part did not end well.

Without torch, siglip-kernel or memeff their rows are missing.  Parts that only check run at the
same time, parts that measure run alone.
"""

import argparse
import concurrent.futures
import functools
import importlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # This checkout.

from benchmarks.accelerator_parts import report

HOME = "benchmarks.accelerator_parts."
ROOM = 15  # Seconds of the budget that are kept for the end.


class Part(NamedTuple):
    """A module with `run(add, dry, *args)`, and its limit in seconds of a budget of 480."""

    module: str
    seconds: int
    args: tuple[str, ...] = ()


PARTS = {
    "machine": Part(HOME + "machine", 60),
    "check_losses": Part(HOME + "check_losses", 110),
    "check_layers": Part(HOME + "check_layers", 110),
    "check_methods": Part(HOME + "check_methods", 110),
    "step": Part(HOME + "step", 120, ("r3d", "avid")),
    "loss": Part(HOME + "loss", 100),
    "strided": Part(HOME + "strided", 60),
    "data": Part(HOME + "data", 60),
    "step_more": Part(HOME + "step", 480, ("vmz", "i3d")),  # As much as is left.
}
# What runs at the same time, in this order: checks first, then what is most worth knowing.  Nothing
# runs without the first.
ROUNDS = (
    ("machine",),
    ("check_losses", "check_layers", "check_methods"),
    ("step",),
    ("loss",),
    ("strided",),
    ("data",),
    ("step_more",),
)


class Child(NamedTuple):
    """A running part."""

    name: str
    process: subprocess.Popen
    start: float
    limit: float  # Seconds.
    log: str  # File of its standard error.


def main(argv=None):
    """Runs the parts; returns the exit code."""
    args = parse(argv)
    if args.child:
        module, *rest = args.child
        add = functools.partial(report.add, args.out, args.parts)
        importlib.import_module(module).run(add, args.dry, *rest)
        return 0
    names = args.parts.split(",") if args.parts else list(PARTS)
    if unknown := sorted(set(names) - PARTS.keys()):
        raise SystemExit(f"--parts {','.join(unknown)}: use {', '.join(PARTS)}")
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    for name in (report.ROWS, report.TABLES, report.LOG):
        (out / name).unlink(missing_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # Ends the running parts too.
    end = time.monotonic() + args.budget - min(ROOM, args.budget / 10)
    rounds = (ROUNDS[0], sum(ROUNDS[1:], ())) if args.dry else ROUNDS  # Nothing to time.
    for number, group in enumerate(rounds):
        chosen = [name for name in group if name in names or not number]
        if not run_group(chosen, args, end) and not number:
            break
    failed = report.failures(report.load(out))
    print(f"{len(failed)} failures; results are in {out / report.TABLES}", flush=True)
    return int(bool(failed))


def parse(argv):
    """The command's arguments."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--out", default=".", help="folder of the results, made if missing (.)")
    p.add_argument("--parts", help=f"some of {', '.join(PARTS)}, separated by commas (all)")
    p.add_argument("--budget", type=float, default=480.0, help="seconds for everything (480)")
    p.add_argument("--dry", action="store_true", help="tiny sizes on a CPU")
    p.add_argument("--child", nargs="+", help=argparse.SUPPRESS)  # A module and its arguments.
    return p.parse_args(argv)


def run_group(names, args, end):
    """Runs parts at the same time; returns whether all ended well.

    A part that ends in another way, or is ended at its limit, becomes a row of results.

    Args:
      names: of the parts.
      args: of the command.
      end: when all must have ended, in seconds of `time.monotonic`.
    """
    children, well = [], True
    with concurrent.futures.ThreadPoolExecutor(len(names) or 1) as pool:
        try:
            for name in names:
                limit = min(PARTS[name].seconds * args.budget / 480, end - time.monotonic())
                if limit <= 0:
                    report.add(args.out, name, "not run", {"error": "the budget was used up"})
                    well = False
                    continue
                children.append(start(name, args, limit))
            ended_well = list(pool.map(lambda child: finish(child, args.out), children))
        finally:
            for child in children:  # Still running only after an interruption.
                stop(child)
    return well and all(ended_well)


def start(name, args, limit):
    """Starts the process of a part."""
    command = [sys.executable, os.path.abspath(__file__), "--out", args.out, "--parts", name]
    command += ["--dry"] if args.dry else []
    command += ["--child", PARTS[name].module, *PARTS[name].args]
    print(f"{name}: at most {limit:.0f} s", flush=True)
    handle, log = tempfile.mkstemp(prefix=f"{name}-", suffix=".log")
    with os.fdopen(handle, "wb") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=file, env=environment(args.dry),
            process_group=0,
        )  # fmt: skip
    return Child(name, process, time.monotonic(), limit, log)


def environment(dry):
    """Variables of the parts: memory for PyTorch beside JAX, a CPU beside the accelerator."""
    env = os.environ | {"PYTHONUNBUFFERED": "1"}
    env.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    env.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    platforms = env.get("JAX_PLATFORMS", "")
    if dry:
        env["JAX_PLATFORMS"] = "cpu"
    elif platforms and "cpu" not in platforms.split(","):
        env["JAX_PLATFORMS"] = f"{platforms},cpu"
    return env


def finish(child, out):
    """Waits for a part; returns whether it ended well."""
    try:
        code = child.process.wait(max(0.0, child.start + child.limit - time.monotonic()))
    except subprocess.TimeoutExpired:
        code = None
        stop(child)
    seconds = time.monotonic() - child.start
    errors = pathlib.Path(child.log).read_text(encoding="utf-8", errors="replace")
    os.unlink(child.log)
    with open(pathlib.Path(out, report.LOG), "a", encoding="utf-8") as file:
        file.write(f"--- {child.name}, {seconds:.1f} s\n{errors}\n")
    print(f"{child.name}: {seconds:.1f} s", flush=True)
    if code:
        print("\n".join(errors.splitlines()[-20:]), flush=True)
        last = (errors.strip().splitlines() or [""])[-1][:200]
        fields = {"error": f"exit code {code} after {seconds:.0f} s", "last line": last}
        report.add(out, child.name, "ended early", fields)
    if code is None:
        fields = {"error": f"ended at its limit of {child.limit:.0f} s: rows may be missing"}
        report.add(out, child.name, "ended early", fields)
    return code == 0


def stop(child):
    """Kills a part and what it started, unless it has ended."""
    if child.process.poll() is None:
        os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()


if __name__ == "__main__":
    sys.exit(main())
