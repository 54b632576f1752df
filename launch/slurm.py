"""Submits a run to SLURM: one process per GPU, started again until it has finished.

    python launch/slurm.py --nodes 4 --gpus_per_node 8 --option=--partition=gpu \\
        -- --config configs/avid_kinetics.py --config.data.root=DIR --workdir runs/avid

What stands after -- are arguments of avjax.main.  --dry_run prints the batch script and the
command that submits it.  Before the time limit SLURM sends SIGTERM; avjax saves and ends with exit
code 75, and the script puts its job into the queue again.  scancel ends the job for good.

With --sweep the arguments are those of avjax.ablate, and each run is one task of a job array.
"""

import argparse
import shlex
import subprocess
import sys

import flags
import sweep

SCRIPT = """\
#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node={tasks}
{options}#SBATCH --signal=TERM@{save_seconds}
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output={log}
set -euo pipefail
{setup}
nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
export JAX_COORDINATOR_ADDRESS="${{nodes%%$'\\n'*}}:$((61440 + SLURM_JOB_ID % 4096))"
{cache}
# All processes save together: the first to end must not end the others at once.
status=0
srun --kill-on-bad-exit=0 --wait=60{cpus} \\
  {command} || status=$?

# 75: saved, and wants to be started again.
if [ "$status" -eq 75 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
"""
CACHE = """\
export JAX_COMPILATION_CACHE_DIR={folder}
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.2
export JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1
"""


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the flags."""
    p = flags.parser(__doc__, "print the script and the command; submit nothing", "avjax.main")
    add = p.add_argument
    add("--name", default="avjax", help="name of the job (avjax)")
    add("--nodes", type=int, default=1, metavar="N", help="nodes (1)")
    add("--gpus_per_node", type=int, default=0, metavar="N", help="GPUs per node (0)")
    add("--tasks_per_node", type=int, metavar="N", help="processes per node (one per GPU, or 1)")
    add("--cpus_per_task", type=int, metavar="N", help="cores per process")
    add("--time", help="time limit, e.g. 24:00:00")
    add("--option", action="append", default=[], metavar="=--FLAG=VALUE",
        help="any other option of sbatch, e.g. --option=--account=NAME")  # fmt: skip
    add("--save_seconds", type=int, default=120, metavar="S",
        help="SIGTERM comes this long before the time limit (120)")  # fmt: skip
    add("--setup", action="append", default=[], metavar="LINE",
        help="line of shell before the run, e.g. 'source .venv/bin/activate'")  # fmt: skip
    add("--run_in", default="", metavar="PREFIX",
        help="a prefix of the command, e.g. 'apptainer exec --nv image.sif'")  # fmt: skip
    add("--cache_dir", metavar="DIR", help="folder of compiled programs (that of avjax)")
    add("--log", help="file of the output (slurm-JOB.log)")
    add("--sweep", action="store_true", help="an ablation as a job array")
    add("--max_parallel", type=int, default=16, metavar="N", help="runs of a sweep at a time (16)")
    return p


def batch_script(args: argparse.Namespace) -> str:
    """Returns the batch script."""
    options = {
        "--gpus-per-node": args.gpus_per_node,
        "--cpus-per-task": args.cpus_per_task,
        "--time": args.time,
    }
    lines = [f"{flag}={value}" for flag, value in options.items() if value] + args.option
    module = "avjax.ablate" if args.sweep else "avjax.main"
    command = [*shlex.split(args.run_in), "python", "-m", module, *args.arguments]
    return SCRIPT.format(
        name=args.name,
        nodes=args.nodes,
        tasks=args.tasks_per_node or args.gpus_per_node or 1,
        options="".join(f"#SBATCH {line}\n" for line in lines),
        save_seconds=args.save_seconds,
        log=args.log or ("slurm-%A_%a.log" if args.sweep else "slurm-%j.log"),
        setup="".join(f"{line}\n" for line in args.setup),
        cache=CACHE.format(folder=shlex.quote(args.cache_dir)) if args.cache_dir else "",
        # srun does not read this option of sbatch.
        cpus=f" --cpus-per-task={args.cpus_per_task}" if args.cpus_per_task else "",
        command=shlex.join(command) + (' --run "$SLURM_ARRAY_TASK_ID"' if args.sweep else ""),
    )


def submissions(args: argparse.Namespace) -> list[list[str]]:
    """Returns the commands that submit the script; each waits for the one before it."""
    if not args.sweep:
        return [["sbatch", "--parsable"]]
    runs = sweep.count_runs(args.arguments)
    parts = [(1, runs.first), (runs.first + 1, runs.last)] if runs.first else [(1, runs.last)]
    arrays = [f"--array={first}-{last}%{args.max_parallel}" for first, last in parts]
    return [["sbatch", "--parsable", array] for array in arrays]


def main(argv: list[str] | None = None) -> int:
    """Submits the job, or prints what would be submitted."""
    args = parser().parse_args(argv)
    script = batch_script(args)
    if args.dry_run:
        print(script)
    job = ""
    for command in submissions(args):
        command += [f"--dependency=afterok:{job}"] if job else []
        if args.dry_run:
            print("#", shlex.join(command), "< SCRIPT")
            job = "JOB"
            continue
        done = subprocess.run(command, input=script, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            return done.returncode
        job = done.stdout.strip().split(";")[0]
        print(f"submitted job {job}: squeue --job {job} shows it, scancel {job} ends it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
