"""The command `avjax`: runs one of its sub-commands, e.g. `avjax train --config smoke`."""

# Nothing heavy is imported here, so that --help is immediate.
import importlib
import os
import sys

import avjax
from avjax.config import signatures

# Sub-command -> (module with a function main(), what it does).
COMMANDS = {
    "train": ("avjax.main", "train a model, or evaluate its latest checkpoint"),
    "plan": ("avjax.plan", "memory, time and largest batch of a run, before there is a machine"),
    "prepare": ("avjax.prepare", "check media files and convert them to shards"),
    "evaluate": ("avjax.evaluate", "evaluate trained nets on downstream tasks"),
    "embed": ("avjax.embed", "extract features of video or audio files"),
    "skim": ("avjax.skim", "find the informative moments of long videos"),
    "ablate": ("avjax.ablate", "train and compare variants of a config at several seeds"),
    "port": ("avjax.port", "import or export PyTorch weights"),
    "report": ("avjax.report.run_page", "write the report of a run again"),
    "synthetic": ("avjax.data.datasets.synthetic", "render videos of the synthetic world"),
    "synthetic_long": ("avjax.data.datasets.synthetic_long", "write long videos of that world"),
}


def main() -> None:
    """Runs the sub-command that the program's arguments name."""
    name, *rest = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(help_text())
    elif name == "--version":
        print(f"avjax {avjax.__version__}")
    elif name not in COMMANDS:
        near = signatures.did_you_mean(name, [*COMMANDS, "--help", "--version"])
        raise SystemExit(f"avjax: no such command: {name}{near} (see avjax --help)")
    else:
        sys.argv = [f"avjax {name}", *rest]
        # For a user's own modules; last, so that no file of this folder replaces a library.
        sys.path.append(os.getcwd())
        importlib.import_module(COMMANDS[name][0]).main()


def help_text() -> str:
    """Returns the help: one line per sub-command."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: avjax COMMAND [ARGUMENTS]",
            "",
            f"{avjax.__doc__}  Commands:",
            "",
            *lines,
            "",
            "avjax COMMAND --help shows the arguments of a command, avjax --version the version.",
            "Every command is also a module: avjax train is python -m avjax.main.",
        ]
    )
