"""Starts a run on machines of any cloud with SkyPilot, as a managed job: `sky jobs launch`.

    python launch/sky.py --name avid --accelerators H100:8 --nodes 2 --spot \\
        --mount /data=gs://BUCKET -- --config configs/avid_kinetics.py \\
        --config.data.root=/data/k400 --workdir /data/runs/avid

What stands after -- are arguments of avjax.main.  --dry_run prints the task instead of launching
it.  Lost machines are replaced, and the run is started again after exit code 75 (saved, wants to
be started again).
"""

import argparse
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile

import flags

TASK = """\
name: {name}
num_nodes: {nodes}
workdir: .
resources:
  accelerators: {accelerators}
  use_spot: {spot}
  job_recovery:
    max_restarts_on_errors: {restarts}
    recover_on_exit_codes: [75]
{mounts}setup: |
  python3 -m pip install --quiet uv
  python3 -m uv venv --quiet --clear --python 3.12 .venv
  python3 -m uv pip install --quiet --python .venv/bin/python -r requirements.txt {jax}
run: |
  AVJAX_COORDINATOR="$(echo "$SKYPILOT_NODE_IPS" | head -n 1):8476"
  AVJAX_PROCESS_ID="$SKYPILOT_NODE_RANK"
  AVJAX_PROCESS_COUNT="$SKYPILOT_NUM_NODES"
  export AVJAX_COORDINATOR AVJAX_PROCESS_ID AVJAX_PROCESS_COUNT
  exec .venv/bin/python -m avjax.main {arguments}
"""


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the flags."""
    p = flags.parser(__doc__, "print the task; start nothing", "avjax.main")
    add = p.add_argument
    add("--name", required=True, help="name of the job")
    add("--accelerators", required=True, metavar="KIND:COUNT", help="of each node, e.g. H100:8")
    add("--nodes", type=int, default=1, metavar="N", help="nodes (1)")
    add("--spot", action="store_true", help="cheaper, and may be taken away at any time")
    add("--mount", action="append", default=[], metavar="PATH=SOURCE",
        help="mounts a bucket, e.g. /data=gs://BUCKET; may be repeated")  # fmt: skip
    add(
        "--jax", default="jax[cuda13]==0.10.2", help="JAX for the accelerator (jax[cuda13]==0.10.2)"
    )
    add("--max_restarts", type=int, default=3, metavar="N", help="after failures (3)")
    return p


def task(args: argparse.Namespace) -> str:
    """Returns the task, in YAML."""
    mounts = [mount.partition("=")[::2] for mount in args.mount]
    lines = [
        f"  {json.dumps(path)}: {{source: {json.dumps(source)}, mode: MOUNT}}\n"
        for path, source in mounts
    ]
    return TASK.format(
        name=json.dumps(args.name),
        nodes=args.nodes,
        accelerators=json.dumps(args.accelerators),
        spot=json.dumps(args.spot),
        restarts=args.max_restarts,
        mounts="file_mounts:\n" + "".join(lines) if lines else "",
        jax=shlex.quote(args.jax),
        arguments=shlex.join(args.arguments),
    )


def main(argv: list[str] | None = None) -> int:
    """Launches the task, or prints it."""
    args = parser().parse_args(argv)
    if args.dry_run:
        print(task(args), end="")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "task.yaml")
        file.write_text(task(args))
        return subprocess.run(["sky", "jobs", "launch", "--yes", str(file)]).returncode


if __name__ == "__main__":
    sys.exit(main())
