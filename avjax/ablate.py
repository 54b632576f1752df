"""Runs an ablation: `python -m avjax.ablate --config configs/ablate_negatives.py --workdir DIR`.

Trains every arm of the config's sweep() with several seeds, one after the other, and writes
study.csv, runs.csv and report.html.  Re-running the command resumes an interrupted study.
With several study.learning_rates, the best one is first selected per batch size, on validation
records.

  --list             lists the runs with number, batch size, negatives, steps and budget
  --print_commands   prints one command per run, for a cluster
  --run N            does run N only
  --report_only      writes the report of the finished runs; trains nothing
  --jobs N           does the runs in N processes, each on CPU cores of its own

Commands of one --workdir, started at any time and on any machine that shares it, share its runs.

Keys of the config are set as in avjax.main, e.g. `--config.study.seeds="(0, 1, 2, 3, 4)"`;
`--budget=steps` is short for `--config.study.budget=steps`.
"""

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from avjax.ablation import jobs, run_study, study as arithmetic, sweep
from avjax.config import allowed_changes, app
from avjax.config.config_files import find_config, run_name
from avjax.runtime import cluster, distributed, preemption


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's flags; config keys are parsed beside them."""
    p = app.make_parser("ablate", __doc__ or "", app.CONFIG_HELP, app.CACHE_HELP)
    add = p.add_argument
    add(
        "--config",
        required=True,
        metavar="CONFIG[:ARG]",
        help="a config with a study and a sweep()",
    )
    add("--workdir", metavar="DIR", help="folder of the study (runs/<name of the config>)")
    add("--budget", choices=arithmetic.BUDGETS, help="the quantity that is equal for all arms")
    one = p.add_mutually_exclusive_group()
    add = one.add_argument
    add("--list", action="store_true", help="list the runs; stop")
    add("--print_commands", action="store_true", help="print one command per run; stop")
    add("--run", type=int, metavar="N", help="do run N only")
    add("--report_only", action="store_true", help="write the report of the finished runs; stop")
    add(
        "--jobs",
        type=int,
        metavar="N",
        help="do the runs in N processes, each on CPU cores of its own",
    )
    text = (
        "one of the processes of --jobs: writes no report, ends when its standard input is closed"
    )
    add("--helper", action="store_true", help=text)
    allowed_changes.add_flags(p)
    distributed.add_flags(p)
    return p


def main(argv: list[str] | None = None) -> None:
    """Runs the command."""
    given = sys.argv[1:] if argv is None else argv
    action = preemption.report_interruption(
        functools.partial(run, argv=given), "re-run the command to continue"
    )
    app.run(parser(), action, argv)


def run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    """Runs the command, whose arguments are `argv`, and returns its exit status."""
    file, size = find_config("--config", args.config)
    _, config = app.load_config(args)
    folder = Path(args.workdir or f"runs/{run_name(args.config)}")
    required = ("batch_size", "steps", "seed", "method", "optimizer")
    if missing := [key for key in required if key not in config]:
        raise ValueError(f"{file} is not the config of a run: keys {missing} are missing")
    values = config.to_dict()
    given = values.get("study", {})
    given |= {"budget": args.budget} if args.budget else {}
    arms = sweep.parse_arms(sweep.load(file)(*([size] if size else [])), values["batch_size"])
    study = sweep.complete_study(given, values, arms)
    runs = arithmetic.expand_runs(arms, study)
    if args.jobs is not None:
        if found := cluster.detect(args.coordinator, args.process_id, args.process_count):
            raise ValueError(
                f"--jobs {args.jobs}: {found.source} started {found.count} processes as one; start "
                "one without it, or leave out --jobs"
            )
        return jobs.execute(args.jobs, argv)
    return run_study.execute(args, folder, config, study, arms, runs)


if __name__ == "__main__":
    main()
