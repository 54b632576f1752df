"""Plans a run before a machine is paid for: python -m avjax.plan --config avid_kinetics
--topology v5e:16x16.

Compiles the training step ahead of time for devices that need not exist, and says how much memory a
device needs, how long a step may take, how many cores must decode, and the largest global batch
that fits, for each source of negatives and number of chunks.  No data set is needed.  Prints tables
and writes them as plan.html.
"""

# Nothing heavy is imported here, so that a misspelt flag is refused at once.
import argparse
from pathlib import Path

from avjax.config import app, build
from avjax.config.config_files import run_name
from avjax.planning import topology as topologies
from avjax.training import stages

CACHE = """compiling takes time:
  the whole step of a large net takes the TPU compiler minutes, or on a busy machine an hour;
  --quick compiles the loss alone, in seconds, and counts the rest. What the compiler says is kept
  in ~/.cache/avjax/plans, or below XDG_CACHE_HOME, by the content of the program, the versions of
  JAX and of the compiler; the folder may be deleted at any time."""


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's flags; config keys are parsed beside them."""
    p = app.make_parser("plan", __doc__, CACHE, app.CONFIG_HELP)
    add = p.add_argument
    add("--config", required=True, metavar="CONFIG[:ARG]",
        help="config of the run: a file, which is a program that is run, or the name of a shipped "
        "one, e.g. avid_kinetics")  # fmt: skip
    add("--topology", required=True,
        help=f"devices, e.g. {topologies.EXAMPLES}; cpu simulates them, gpu is counted and not "
        "compiled, so --quick")  # fmt: skip
    add("--quick", action="store_true", help="compile the loss alone and count the rest")
    add("--no_search", action="store_true", help="don't look for the largest batch")
    add("--records", type=int, metavar="N",
        help="records for training, the rows of a memory bank (those of the config's data set, "
        "or of Kinetics-400)")  # fmt: skip
    add("--clips_per_core", type=float, default=475.0, metavar="R",
        help="clips/s that a core decodes (475: shards, see docs/results/data.md)")  # fmt: skip
    add("--mfu", type=float, default=0.3, metavar="SHARE",
        help="share of the peak FLOP/s that is expected (0.3)")  # fmt: skip
    add("--memory", type=float, metavar="GB", help="memory of a device (that of the chip)")
    add("--stage", metavar="NAME", help="of a config with stages (the last one)")
    add("--out", default="plan.html", metavar="FILE", help="the page (plan.html)")
    return p


def main(argv: list[str] | None = None) -> None:
    app.run(parser(), run, argv)


def run(args: argparse.Namespace) -> None:
    """Plans a run, prints the tables and writes the page."""
    check_numbers(args)
    topology = topologies.parse(args.topology, args.memory and args.memory * 1e9)
    topologies.prepare_environment(topology)  # Before JAX is imported.
    config = load(args)
    app.start_jax()
    import jax

    from avjax.planning import dataless, plan, tables
    from avjax.report import capacity_page

    # What is compiled here runs nowhere, and a program from that cache has no account of memory.
    jax.config.update("jax_enable_compilation_cache", False)
    records, known = dataless.number_of_records(config)
    options = plan.Options(
        quick=args.quick or topology.platform == "gpu",
        search=not args.no_search,
        records=args.records or records,
        records_from="--records" if args.records else known,
        clips_per_core=args.clips_per_core,
        mfu=args.mfu,
    )
    made = plan.make(config, topology, topologies.devices(topology), options)
    name = run_name(args.config)
    print(f"# {tables.title(made, name)}\n")
    for table in tables.tables(made, tables.NUM_COLLECTIVES):
        print(tables.as_markdown(table))
    print(f"the page is {capacity_page.write(Path(args.out), made, name)}")


def load(args: argparse.Namespace) -> dict:
    """Returns the plain config of the run, or of one stage; its data need not exist.

    Raises:
      ValueError: the config is wrong, or has no such stage.
    """
    from avjax.planning import dataless

    _, config = app.load_config(args, dataless.fill_unset_data)
    workdir = f"runs/{run_name(args.config)}"
    chain = stages.expand(build.substitute(config.to_dict(), workdir), workdir)
    by_name = {Path(folder).name: one for folder, one in chain}
    if args.stage and args.stage not in by_name:
        raise ValueError(f"--stage {args.stage}: the config has {', '.join(by_name)}")
    return by_name[args.stage] if args.stage else chain[-1][1]


def check_numbers(args: argparse.Namespace) -> None:
    """Raises ValueError if a number is out of its range."""
    for name, most in (("records", None), ("clips_per_core", None), ("mfu", 1), ("memory", None)):
        value = getattr(args, name)
        if value is not None and not (value > 0 and (most is None or value <= most)):
            raise ValueError(
                f"--{name}={value:g}: use more than 0" + (", at most 1" if most else "")
            )


if __name__ == "__main__":
    main()
