"""Trains one model: `python -m avjax.main --config configs/smoke.py --workdir runs/smoke`.

Re-running the command resumes from the latest checkpoint.  A config with stages is a chain of
runs, each in a folder of its own, e.g. runs/cma_kinetics/avid.  On a CPU, JAX_NUM_CPU_DEVICES=4
simulates four devices.
"""

# Nothing heavy is imported here, so that a misspelt flag is refused at once.
import argparse
import os

from avjax.config import allowed_changes, app, build
from avjax.config.config_files import run_name
from avjax.runtime import distributed, heaps, preemption, profiling, run_lock, workdir as workdirs
from avjax.training import stages


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's flags; config keys are parsed beside them."""
    p = app.make_parser("main", __doc__, app.CONFIG_HELP, app.CACHE_HELP)
    add = p.add_argument
    add("--config", required=True, metavar="CONFIG[:ARG]",
        help="config of the run: a file, which is a program that is run, or the name of a shipped "
        "one, e.g. smoke")  # fmt: skip
    add("--workdir", metavar="DIR", help="folder of the run (runs/<name of the config>)")
    add("--mode", default="train", choices=("train", "eval"),
        help="eval: evaluate the latest checkpoint, no training (train)")  # fmt: skip
    allowed_changes.add_flags(p)
    distributed.add_flags(p)
    add("--dry_run", action="store_true",
        help="check all, print config, batch shapes, parameters, devices; then stop")  # fmt: skip
    return p


def main(argv: list[str] | None = None) -> None:
    action = preemption.report_interruption(run, "re-run the command to continue")
    app.run(parser(), action, argv)


def run(args: argparse.Namespace) -> None:
    """Trains, evaluates or does a dry run, as the arguments say."""
    _, config = app.load_config(args)
    workdir = args.workdir or f"runs/{run_name(args.config)}"
    chain = stages.expand(build.substitute(config.to_dict(), workdir), workdir)
    at_steps = stages.at_steps(config, workdir)
    allowed = allowed_changes.parse(args)
    stages.check_workdirs(chain, at_steps, allowed)
    specs = config.to_dict().get("stages") or {}
    stages.check_configs(chain, specs)
    if args.mode == "train" and not args.dry_run:
        for folder, _ in chain:
            run_lock.check_free(folder)
    if args.mode == "eval" and not args.dry_run:
        for folder, _ in chain:
            workdirs.check_is_trained(folder)
    profiling.mark("Python, the config and its checks")
    heaps.limit_arenas()
    # First: the imports below may set up logging.
    app.start_jax(args, {"--workdir": workdir, "--mode": args.mode, **app.config_facts(config)})
    if config.get("profile"):
        profiling.count_jax()
    import jax

    from avjax.config import errors
    from avjax.training import dry_run

    profiling.mark("imports of JAX and what builds on it")
    runs, checked, earlier = stages.build(chain, specs), [], {}
    profiling.mark("nets, data sets")
    for folder, experiment in runs:
        with errors.stage_keys(specs, folder):
            checked.append(dry_run.validate(experiment, folder, earlier))
    profiling.mark("check: a batch of each data set, tracing")
    if args.dry_run:
        for (folder, experiment), found in zip(runs, checked):
            if jax.process_index() == 0:
                print(f"{folder}:\n{dry_run.summarize(experiment, found)}\n")
        return
    stages.run(runs, write_report, args.mode == "train", at_steps, allowed)
    if len(chain) > 1 and jax.process_index() == 0:
        from avjax.report import stages_page

        stages_page.write(workdir, [os.path.basename(folder) for folder, _ in chain])
    if jax.process_index() == 0:
        print(f"the run is in {workdir}: open {workdir}/report.html")


def write_report(workdir: str | os.PathLike) -> None:
    """Writes the report of a run, see `run_page.write_or_log`; imports Matplotlib."""
    from avjax.report import run_page

    run_page.write_or_log(workdir)


if __name__ == "__main__":
    main()
