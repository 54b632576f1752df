"""Does the runs of a study and writes its report."""

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from avjax.ablation import listing, study as arithmetic
from avjax.ablation.study import Arm, Run
from avjax.config import allowed_changes, app
from avjax.config.build import build, substitute


def execute(
    args: argparse.Namespace,
    folder: Path,
    config: ConfigDict,
    study: dict,
    arms: Sequence[Arm],
    runs: Sequence[Run],
) -> int:
    """Does what the flags request and returns the exit status."""
    make_config = functools.partial(run_config, folder, config, study)
    if not args.print_commands:  # First: building a method may use JAX.
        same = {"--workdir": str(folder), "--run": args.run, "study": study}
        app.start_jax(args, same | app.config_facts(config))
    from avjax.ablation import pending, runner, sharing
    from avjax.runtime import workdir

    if args.helper:
        sharing.end_with_input()

    for arm in arms:  # With any flags: a wrong sweep is refused at once.
        runner.check_arm(
            arm,
            make_config(arithmetic.Run(arm.name, arm, 0, None), 100, study["learning_rates"][0]),
        )
    write = build(study.get("report") or default_report(arms), "config.study.report")
    if args.print_commands:
        return listing.print_commands(runs)
    import jax

    first = jax.process_index() == 0
    base = substitute(config.to_dict() | {"study": study}, "{workdir}")
    if not args.list:
        # Seeds may be added to an existing study.
        fixed = {k: v for k, v in base["study"].items() if k not in ("seeds", "title")}
        allowed = allowed_changes.parse(args)
        workdir.open_workdir(folder, base | {"study": fixed}, write=first, allow_changed=allowed)
    plans = {arm.name: plan_arm(folder, make_config, arm, study, args.report_only) for arm in arms}
    if args.list:
        return listing.print_list(runs, plans, study)
    if args.run is not None and not 1 <= args.run <= len(runs):
        raise ValueError(f"--run {args.run}: use 1 to {len(runs)} (see --list)")
    selected = [runs[args.run - 1]] if args.run else () if args.report_only else runs
    allowed = allowed_changes.parse(args)
    failed = pending.execute(
        pending.Work(folder, make_config, runs, plans, study, allowed), selected
    )
    if not (args.run or args.helper) and first:
        found = runner.read_existing(runner.read_result, folder, runs)
        reason = runner.read_existing(runner.read_failure, folder, runs)
        page = write(folder, base, arms, runs, plans, found, reason)
        print(f"the study is in {folder}: open {page}")
    return failed


def default_report(arms: Sequence[Arm]) -> dict:
    """Returns the spec of the default report: against negatives if all arms have them."""
    if all(arm.negatives for arm in arms):
        return dict(ref="avjax.report.ablation_page.write")
    return dict(fn="avjax.report.comparison_page.make")


def run_config(
    folder: Path, config: ConfigDict, study: dict, run: Run, steps: int, learning_rate: float | None
) -> dict:
    """Returns the complete config of a run."""
    plain = arithmetic.run_config(config, run, steps, learning_rate, study)
    return substitute(plain, str(folder.resolve()))


def plan_arm(
    folder: Path, make_config: Callable[..., dict], arm: Arm, study: dict, known_only: bool
) -> dict:
    """Returns {"steps", "budget_error", "refused"} of an arm.

    steps is None if the budget is FLOPs, the cost of a step is not known yet, and `known_only`.
    """
    flops = None
    if study["budget"] == "flops":
        from avjax.ablation import runner
        from avjax.training import experiment

        spent = runner.cached_step_cost(folder, arm)
        if spent is None and known_only:
            return {"steps": None, "budget_error": None, "refused": ""}
        if spent is None:
            print(f"compiling {arm.name}", file=sys.stderr, flush=True)
            run = arithmetic.Run(arm.name, arm, study["seeds"][0], None)
            config = make_config(run, 1000, study["learning_rates"][0])
            spent = runner.step_cost(folder, arm, experiment.build(config))
        flops = spent["flops"]
    steps = arm.overrides.get("steps") or arithmetic.num_steps(study, arm.batch, flops)
    return {
        "steps": steps,
        "budget_error": arithmetic.budget_error(study, steps, arm.batch, flops),
        "refused": arithmetic.budget_violation(study, steps, arm.batch, flops),
    }
