"""Does the runs of a study and writes its report."""

import argparse
import functools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
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
    from avjax.ablation import runner
    from avjax.runtime import workdir

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
    failed = run_pending(folder, make_config, runs, selected, plans, study, allowed)
    if not args.run and first:
        found = read_existing(runner.read_result, folder, runs)
        reason = read_existing(runner.read_failure, folder, runs)
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


def run_pending(
    folder: Path,
    make_config: Callable[..., dict],
    runs: Sequence[Run],
    selected: Sequence[Run],
    plans: Mapping[str, dict],
    study: dict,
    allow_changed: Sequence[str],
) -> int:
    """Does the requested runs that are not finished; returns 1 if any failed or was refused."""
    from avjax.ablation import runner
    from avjax.runtime import metrics_writer

    results = read_existing(runner.read_result, folder, runs)
    for run in (run for run in selected if run.name in results):
        found, steps = results[run.name], plans[run.arm.name]["steps"]
        if (
            arithmetic.config_hash(make_config(run, steps, found["learning_rate"]))
            != found["config"]
        ):
            raise ValueError(
                f"{folder}/runs/{run.name} has another config or sweep(): choose another "
                "--workdir, or delete that run"
            )
    todo = [run for run in selected if run.name not in results]
    if len(todo) < len(selected):
        print(f"{len(selected) - len(todo)} of {len(selected)} runs were already finished")
    start_time, bad, before = time.monotonic(), 0, len(selected) - len(todo)
    for n, run in enumerate(todo, 1):
        text = run_one(folder, make_config, run, runs, plans, results, study, allow_changed)
        bad += text.startswith(("failed", "refused"))
        each = (time.monotonic() - start_time) / n
        remaining = (
            f"{each:.0f} s per run, {metrics_writer.format_duration(each * (len(todo) - n))} left"
        )
        print(f"[{before + n}/{len(selected)}] {run.name}: {text}; {remaining}", flush=True)
    if bad:
        print(f"{bad} of {len(todo)} runs failed or were refused", file=sys.stderr)
    return int(bad > 0)


def read_existing(read: Callable, folder: Path, runs: Sequence[Run]) -> dict:
    """Returns {name of a run: read(folder, name)} of the runs that have such a file."""
    found = {run.name: read(folder, run.name) for run in runs}
    return {name: value for name, value in found.items() if value}


def run_one(
    folder: Path,
    make_config: Callable[..., dict],
    run: Run,
    runs: Sequence[Run],
    plans: Mapping[str, dict],
    results: dict,
    study: dict,
    allow_changed: Sequence[str],
) -> str:
    """Does one run and returns its outcome as one line."""
    import jax

    from avjax.ablation import runner

    plan, learning_rate = plans[run.arm.name], run.learning_rate
    if plan["refused"]:
        return f"refused: {plan['refused']}"
    print(f"{run.name}: log in {folder}/runs/{run.name}/log.txt", flush=True)
    try:
        if learning_rate is None:
            learning_rates = arithmetic.select_learning_rates(results, runs, study)
            if run.arm.batch not in learning_rates:
                raise ValueError(
                    f"the tuning runs of batch {run.arm.batch} are not finished: no learning rate"
                )
            learning_rate = learning_rates[run.arm.batch]
        results[run.name] = runner.run_trial(
            folder, run, make_config(run, plan["steps"], learning_rate), allow_changed
        )
    # A failed run must not stop the others; the report names it.
    except Exception as error:
        if jax.process_count() > 1:  # The others cannot know of it, and would wait for this one.
            raise
        runner.record_failure(folder, run.name)
        return f"failed: {type(error).__name__}: {error}"
    finally:
        jax.clear_caches()  # Compiled programs of other arms are not reused.
    return arithmetic.summary_line(results[run.name])
