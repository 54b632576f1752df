"""Starts a run on a GKE cluster that xpk made: prints and runs `xpk workload create`.

    python launch/xpk.py --name avid --cluster CLUSTER --tpu v5litepod-256 --image IMAGE \\
        -- --config configs/avid_kinetics.py --config.data.root=/data/k400 --workdir /data/runs/avid

What stands after -- are arguments of avjax.main.  Restarts after exit code 75 (saved, wants to be
started again) count as those after failures do, so --max_restarts is large.
"""

import argparse
import shlex
import subprocess
import sys

import flags


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the flags."""
    p = flags.parser(__doc__, "print the command; start nothing", "avjax.main")
    add = p.add_argument
    add("--name", required=True, help="name of the workload")
    add("--cluster", required=True, help="name of the cluster")
    add("--tpu", required=True, metavar="TYPE", help="e.g. v5litepod-256")
    add("--image", required=True, help="container image with avjax and its requirements")
    add("--slices", type=int, default=1, metavar="N", help="slices (1)")
    add("--storage", action="append", default=[], metavar="NAME",
        help="storage attached with `xpk storage`; may be repeated")  # fmt: skip
    add("--max_restarts", type=int, default=100, metavar="N", help="restarts (100)")
    add("--grace_seconds", type=int, default=120, metavar="S", help="from SIGTERM to SIGKILL (120)")
    add("--option", action="append", default=[], metavar="=--FLAG=VALUE",
        help="any other option of xpk, e.g. --option=--zone=ZONE; may be repeated")  # fmt: skip
    return p


def command(args: argparse.Namespace) -> list[str]:
    """Returns the command of xpk."""
    return [
        *("xpk", "workload", "create"),
        f"--workload={args.name}",
        f"--cluster={args.cluster}",
        f"--tpu-type={args.tpu}",
        f"--num-slices={args.slices}",
        f"--docker-image={args.image}",
        *(f"--storage={name}" for name in args.storage),
        f"--max-restarts={args.max_restarts}",
        "--restart-on-exit-codes=75",
        f"--termination-grace-period-seconds={args.grace_seconds}",
        *args.option,
        f"--command={shlex.join(['python', '-m', 'avjax.main', *args.arguments])}",
    ]


def main(argv: list[str] | None = None) -> int:
    """Prints the command and runs it."""
    args = parser().parse_args(argv)
    print(shlex.join(command(args)), flush=True)
    return 0 if args.dry_run else subprocess.run(command(args)).returncode


if __name__ == "__main__":
    sys.exit(main())
