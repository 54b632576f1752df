"""Evaluates trained nets on downstream tasks: `python -m avjax.evaluate --run RUN --suite NAME`.

RUN is the folder of a run of avjax or of ported weights.  A suite is a file with get_config(), or
the name of a shipped one (--list shows them).  Several runs and suites give one table:

    python -m avjax.evaluate --run runs/smoke --suite knn --suite retrieval --out table

OUT gets index.html, table.md, table.csv and table.json.  Re-running the command computes only what
is missing.
"""

import argparse
import os

from avjax.config import app, trust
from avjax.config.suites import list_suites, load_suites
from avjax.runtime import preemption

SUITE_HELP = """keys of a suite:
  --config.SUITE.KEY=VALUE sets a key of a suite, e.g. --config.esc50.data.root=DIR or
  --config.knn.protocol.scores.knn.k=5. Without data.source, suites such as knn use the data of the
  run's own evaluation."""


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's flags; config keys are parsed beside them."""
    p = app.make_parser("evaluate", __doc__, SUITE_HELP, app.CACHE_HELP)
    add = p.add_argument
    add("--run", action="append", default=[], metavar="[NAME=]DIR",
        help="folder of a run, and the name of its row; may be repeated")  # fmt: skip
    add("--trust", action="append", default=[], metavar="PACKAGE", help=trust.HELP)
    add("--suite", action="append", default=[], metavar="SUITE[:ARG]",
        help="a suite; may be repeated")  # fmt: skip
    add("--config", help=argparse.SUPPRESS)  # Keys of the suites are parsed as --config.KEY.
    add("--out", metavar="DIR", help="folder of the results")
    add("--untrained", action="store_true",
        help="also evaluate the nets of each run with random weights")  # fmt: skip
    add("--features", metavar="DIR", help="folder of cached features (OUT/features)")
    add("--batch_size", type=int, default=64, help="clips per batch (64)")
    add("--workers", type=int, help="decoding processes (one per core)")
    add("--list", action="store_true", help="list the shipped suites; stop")
    return p


def main(argv: list[str] | None = None) -> None:
    """Runs the command."""
    action = preemption.report_interruption(run, "re-run the command to continue")
    app.run(parser(), action, argv)


def run(args: argparse.Namespace) -> int:
    """Evaluates, writes the table, and returns the exit status: 1 if a suite failed."""
    if args.list:
        print("\n".join(list_suites()))
        return 0
    if args.config:
        raise ValueError("--config: name suites by --suite SUITE, and keys by --config.SUITE.KEY")
    if not args.suite:
        raise ValueError("--suite is missing: name a suite; --list shows the shipped ones")
    if not args.out:
        raise ValueError("--out is missing: give the folder of the results")
    suites = load_suites(args.suite, args.settings)
    runs = run_names(args.run)
    app.start_jax_alone("avjax.evaluate")
    from avjax.downstream import model, run_suites
    from avjax.report import downstream_page

    models = [model.open_run(folder, name, args.trust) for name, folder in runs.items()]
    if args.untrained:
        models += [model.untrained(one) for one in models]
    features = args.features or run_suites.default_features(args.out)
    options = run_suites.Options(args.out, features, args.batch_size, args.workers)
    errors = run_suites.run(suites, models, options, downstream_page.write)
    print(f"the table is in {args.out}: open {args.out}/index.html")
    return 1 if errors else 0


def run_names(texts: list[str]) -> dict[str, str]:
    """Returns {name of a row: folder} of the values of --run.

    Raises:
      ValueError: two rows have the same name.
    """
    found = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if not equals or os.path.isdir(text):
            name, folder = os.path.basename(os.path.abspath(text)), text
        if name in found:
            raise ValueError(f"--run {text}: two rows are named {name}: use --run NAME=DIR")
        found[name] = folder
    return found


if __name__ == "__main__":
    main()
