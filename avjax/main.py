"""Trains one model: `python -m avjax.main --config configs/smoke.py --workdir runs/smoke`.

Re-running the command resumes from the latest checkpoint.  A config with stages is a chain of
runs, each in a folder of its own, e.g. runs/cma_kinetics/avid.  On a CPU, JAX_NUM_CPU_DEVICES=4
simulates four devices.
"""

# Nothing heavy is imported here, so that a misspelt flag is refused at once.
import argparse
import os

from avjax.config import app
from avjax.runtime import preemption


def parser() -> argparse.ArgumentParser:
    """The arguments of the command; keys of the config come beside them."""
    p = app.parser("main", __doc__, app.KEYS, app.CACHE)
    add = p.add_argument
    add("--config", required=True, metavar="FILE[:NAME]", help="config of the run, see configs/")
    add("--workdir", metavar="DIR", help="folder of the run (runs/<name of the config>)")
    add("--mode", default="train", choices=("train", "eval"),
        help="eval: evaluate the latest checkpoint, no training (train)")  # fmt: skip
    add("--allow_changed_data", action="store_true",
        help="resume though files were added, removed or changed")  # fmt: skip
    add("--dry_run", action="store_true",
        help="check all, print config, batch shapes, parameters and devices; stop")  # fmt: skip
    return p


def main(argv: list[str] | None = None) -> None:
    action = preemption.in_one_line(run, "the same command starts it again")
    app.run(parser(), action, argv)


def run(args: argparse.Namespace) -> None:
    """Trains, evaluates or plans, as the arguments say."""
    _, config = app.loaded(args)
    workdir = args.workdir or f"runs/{name(args.config)}"
    app.start_jax()  # First: what is imported next may set up logging.
    import jax

    from avjax.config import build
    from avjax.report import run_page, stages_page as report
    from avjax.runtime import sharding
    from avjax.training import dry_run, stages

    chain = stages.of(build.filled(config.to_dict(), workdir), workdir)
    at_steps = stages.at_steps(config, workdir)
    stages.check(chain, at_steps)
    earlier = {}
    with sharding.process_zero_first("check"):  # What it renders, the others find.
        batches = [dry_run.check(config, folder, earlier) for folder, config in chain]
    if args.dry_run:
        for (folder, config), batch in zip(chain, batches):
            print(f"{folder}:\n{dry_run.describe(config, batch)}\n")
        return
    del batches
    stages.run(chain, run_page.renew, args.mode == "train", at_steps, args.allow_changed_data)
    if len(chain) > 1 and jax.process_index() == 0:
        report.write(workdir, [os.path.basename(folder) for folder, _ in chain])
    print(f"the run is in {workdir}: open {workdir}/report.html")


def name(config: str) -> str:
    """A config file's name, without its ending; with its argument, if it has one."""
    path, *size = config.rsplit(".py:", 1)
    path = path.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".py")
    return "-".join([path, *size])


if __name__ == "__main__":
    main()
