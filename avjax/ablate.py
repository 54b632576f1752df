"""An ablation: `python -m avjax.ablate --config configs/ablate_negatives.py --workdir DIR`.

Trains every arm of the config's sweep() at several seeds, one after the other, and writes
study.csv, runs.csv and report.html.  The same command again resumes where a stopped one ended.
With several study.rates, a rate is first chosen for each batch size, on validation records.

  --list       the runs, numbered, with batch, negatives, steps and budget
  --commands   one command a line, for a cluster: each does one run
  --run N      does run N only
  --report     gathers what has finished, and trains nothing

Keys of the config are set as in avjax.main, e.g. `--config.study.seeds="(0, 1, 2, 3, 4)"`;
`--budget=steps` is short for `--config.study.budget=steps`.
"""

import argparse
import functools
import shlex
import sys
import time
from pathlib import Path

from avjax.ablation import study as arithmetic, sweep
from avjax.config import app
from avjax.config.build import build, filled
from avjax.runtime import preemption


def parser() -> argparse.ArgumentParser:
    """The arguments of the command; keys of the config come beside them."""
    p = app.parser("ablate", __doc__, app.KEYS, app.CACHE)
    add = p.add_argument
    add(
        "--config", required=True, metavar="FILE[:NAME]", help="a config with a study and a sweep()"
    )
    add("--workdir", metavar="DIR", help="folder of the study (runs/<name of the config>)")
    add("--budget", choices=arithmetic.BUDGETS, help="what all arms get the same of")
    add("--list", action="store_true", help="list the runs; stop")
    add("--commands", action="store_true", help="print a command for each run; stop")
    add("--run", type=int, metavar="N", help="do the run of this number only")
    add("--report", action="store_true", help="write the report of what has finished; stop")
    return p


def main(argv: list[str] | None = None) -> None:
    action = preemption.in_one_line(run, "the same command starts it again")
    app.run(parser(), action, argv)


def run(args: argparse.Namespace) -> int:
    """Does what the arguments ask for; the program's exit status."""
    file, *size = args.config.split(":", 1)
    _, config = app.loaded(args)
    folder = Path(args.workdir or "runs/" + "-".join([Path(file).stem, *size]))
    if missing := [key for key in ("batch_size", "steps", "seed") if key not in config]:
        raise ValueError(f"{file} is not the config of a run: it has no {missing}")
    given = config.study.to_dict() if "study" in config else {}
    given |= {"budget": args.budget} if args.budget else {}
    arms = sweep.arms_of(sweep.load(file)(*size), config.batch_size)
    study = sweep.study_of(given, config, arms)
    runs = arithmetic.runs_of(arms, study)
    return act(args, folder, config, study, arms, runs)


def act(args, folder, config, study, arms, runs) -> int:
    """Does what the flags ask for; the program's exit status."""
    bound = functools.partial(configured, folder, config, study)
    from avjax.ablation import runner
    from avjax.runtime import workdir

    for arm in arms:  # Whatever the flags ask for: a wrong sweep is refused at once.
        runner.check(arm, bound(arithmetic.Run(arm.name, arm, 0, None), 100, study["rates"][0]))
    write = build(study.get("report") or report(arms))
    if args.commands:
        return commands(runs)
    app.start_jax()
    base = filled(config.to_dict() | {"study": study}, "{workdir}")
    if not args.list:
        # Seeds may be added to a study that is there.
        fixed = {k: v for k, v in base["study"].items() if k not in ("seeds", "title")}
        workdir.claim(folder, base | {"study": fixed})
    planned = {arm.name: plan(folder, bound, arm, study, args.report) for arm in arms}
    if args.list:
        return print_list(runs, planned, study)
    if args.run is not None and not 1 <= args.run <= len(runs):
        raise ValueError(f"--run {args.run}: there are {len(runs)} runs, from 1 on")
    wanted = [runs[args.run - 1]] if args.run else () if args.report else runs
    failed = work(folder, bound, runs, wanted, planned, study)
    if not args.run:
        found = present(runner.result, folder, runs)
        why = present(runner.failure, folder, runs)
        page = write(folder, base, arms, runs, planned, found, why)
        print(f"the study is in {folder}: open {page}")
    return failed


def report(arms) -> dict:
    """The spec of the report of a study that names none."""
    if all(arm.negatives for arm in arms):
        return dict(fn="pkgutil.resolve_name", args=("avjax.report.ablation_page.write",))
    return dict(fn="avjax.report.comparison_page.make")


def configured(folder, config, study, run, steps, rate) -> dict:
    """The whole config of a run."""
    plain = arithmetic.configured(config, run, steps, rate, study)
    return filled(plain, str(folder.resolve()))


def plan(folder, bound, arm, study, known_only) -> dict:
    """{"steps", "off", "refused"} of an arm; steps None where its cost is not known yet."""
    flops = None
    if study["budget"] == "flops":
        from avjax.ablation import runner

        spent = runner.known_cost(folder, arm)
        if spent is None and known_only:
            return {"steps": None, "off": None, "refused": ""}
        if spent is None:
            print(f"compiling {arm.name}", file=sys.stderr, flush=True)
            run = arithmetic.Run(arm.name, arm, study["seeds"][0], None)
            spent = runner.costs(folder, arm, bound(run, 1000, study["rates"][0]))
        flops = spent["flops"]
    steps = arm.overrides.get("steps") or arithmetic.steps_of(study, arm.batch, flops)
    return {
        "steps": steps,
        "off": arithmetic.off_budget(study, steps, arm.batch, flops),
        "refused": arithmetic.refusal(study, steps, arm.batch, flops),
    }


def print_list(runs, planned, study) -> int:
    amount = study["amount"][study["budget"]]
    print(f"budget: {amount:g} {study['budget']} a run, within {study['tolerance']:.0%}")
    print(f"{'run':>4}  {'B':>6} {'K':>7} {'steps':>7} {'examples':>9} {'off':>7}  name")
    for n, run in enumerate(runs, 1):
        arm, its = run.arm, planned[run.arm.name]
        note = f"  refused: {its['refused']}" if its["refused"] else ""
        print(
            f"{n:>4}  {arm.batch:>6} {arm.negatives or '':>7} {its['steps']:>7} "
            f"{its['steps'] * arm.batch:>9} {its['off']:>+7.2%}  {run.name}{note}"
        )
    return 0


def commands(runs) -> int:
    """A command a line; what must wait for what is said beside them, on stderr."""
    given = [arg for arg in sys.argv[1:] if arg.lstrip("-").split("=")[0] != "commands"]
    for n, _ in enumerate(runs, 1):
        print(shlex.join(["python", "-m", "avjax.ablate", *given, "--run", str(n)]))
    tuning = sum(run.rate is not None for run in runs)
    if tuning:
        print(
            f"runs 1-{tuning} choose the learning rates: {tuning + 1}-{len(runs)} start after them",
            file=sys.stderr,
        )
    return 0


def work(folder, bound, runs, wanted, planned, study) -> int:
    """Does the wanted runs that are not done; 1 if any failed or was refused."""
    from avjax.ablation import runner
    from avjax.runtime import metrics_writer

    results = present(runner.result, folder, runs)
    for run in (run for run in wanted if run.name in results):
        found, steps = results[run.name], planned[run.arm.name]["steps"]
        if arithmetic.digest(bound(run, steps, found["rate"])) != found["config"]:
            raise ValueError(
                f"{folder}/runs/{run.name} is of another config or sweep(): choose another "
                "--workdir, or delete that run"
            )
    todo = [run for run in wanted if run.name not in results]
    if len(todo) < len(wanted):
        print(f"{len(wanted) - len(todo)} of {len(wanted)} runs were done before")
    began, bad, before = time.monotonic(), 0, len(wanted) - len(todo)
    for n, run in enumerate(todo, 1):
        said = one(folder, bound, run, runs, planned, results, study)
        bad += said.startswith(("failed", "refused"))
        each = (time.monotonic() - began) / n
        left = f"{each:.0f} s a run, {metrics_writer.clock(each * (len(todo) - n))} left"
        print(f"[{before + n}/{len(wanted)}] {run.name}: {said}; {left}", flush=True)
    if bad:
        print(f"{bad} of {len(todo)} runs failed or were refused", file=sys.stderr)
    return int(bad > 0)


def present(read, folder, runs) -> dict:
    """{run: what `read` finds of it}, of those that have it."""
    found = {run.name: read(folder, run.name) for run in runs}
    return {name: value for name, value in found.items() if value}


def one(folder, bound, run, runs, planned, results, study) -> str:
    """Does a run; what became of it."""
    import jax

    from avjax.ablation import runner

    its, rate = planned[run.arm.name], run.rate
    if its["refused"]:
        return f"refused: {its['refused']}"
    print(f"{run.name}: log in {folder}/runs/{run.name}/log.txt", flush=True)
    try:
        if rate is None:
            rates = arithmetic.rates_of(results, runs, study)
            if run.arm.batch not in rates:
                raise ValueError(f"tuning of batch {run.arm.batch} has not ended: no learning rate")
            rate = rates[run.arm.batch]
        results[run.name] = runner.do(folder, run, bound(run, its["steps"], rate))
    # Whatever a run dies of, the others are still worth having; it is named in the report.
    except Exception as error:
        runner.fail(folder, run.name)
        return f"failed: {type(error).__name__}: {error}"
    finally:
        jax.clear_caches()  # Programs of other arms are of no more use.
    return arithmetic.summary_line(results[run.name])


if __name__ == "__main__":
    main()
