"""Trains one model: `python -m avjax.main --config configs/smoke.py --workdir runs/smoke`.

The same command again goes on where a stopped run ended.  A config with stages is a chain of runs,
each in a folder of its own, e.g. runs/cma_kinetics/avid.  Every key of the config can be set on
the command line: `--config.batch_size=64`, `--config.method.scale.temperature=0.1`.  Evaluations,
schedules and the like follow what they refer to.  On a CPU, JAX_NUM_CPU_DEVICES=4 simulates four
devices.
"""

# Nothing heavy is imported here, so that a misspelt flag is refused at once.
import os

from absl import app, flags, logging
from ml_collections import config_flags

from avjax import program

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", None, "The run's config: a Python file, see configs/.")
flags.DEFINE_string("workdir", None, "The run's folder; without it, runs/<name of the config>.")
flags.DEFINE_enum("mode", "train", ["train", "eval"], "eval: judge the newest checkpoint only.")
flags.DEFINE_bool("allow_changed_data", False, "Resume though files were added, removed, changed.")
flags.DEFINE_bool("dry_run", False, "Print config, batch shapes, parameter counts, mesh; stop.")


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"no such argument: {argv[1]!r}; flags begin with --")
    logging.set_verbosity(logging.WARNING)  # JAX tells of every backend that is not there.
    workdir = FLAGS.workdir or f"runs/{name()}"
    import jax

    from avjax import build, plan, sharding, stages
    from avjax.report import chain as report, html

    try:
        chain = stages.of(build.filled(FLAGS.config.to_dict(), workdir), workdir)
        at_steps = stages.at_steps(FLAGS.config, workdir)
        stages.check(chain, at_steps)
        with sharding.process_zero_first("check"):  # What it renders, the others find.
            batches = [plan.check(config) for _, config in chain]
    except (ValueError, OSError, TypeError) as error:
        raise SystemExit(f"avjax: {error}") from error
    if FLAGS.dry_run:
        for (folder, config), batch in zip(chain, batches):
            print(f"{folder}:\n{plan.describe(config, batch)}\n")
        return
    del batches
    stages.run(chain, html.renew, FLAGS.mode == "train", at_steps, FLAGS.allow_changed_data)
    if len(chain) > 1 and jax.process_index() == 0:
        report.write(workdir, [os.path.basename(folder) for folder, _ in chain])
    print(f"the run is in {workdir}: open {workdir}/report.html")


def name() -> str:
    """The config file's name, without its ending; with its argument, if it has one."""
    path, *size = config_flags.get_config_filename(FLAGS["config"]).rsplit(".py:", 1)
    path = path.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".py")
    return "-".join([path, *size])


if __name__ == "__main__":
    program.run(main)
