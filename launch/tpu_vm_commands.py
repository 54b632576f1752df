"""The commands of gcloud for a Cloud TPU, as lists of arguments; tpu_vm.py runs them."""

import argparse
import os
import pathlib
import shlex

CHECKOUT = os.path.relpath(pathlib.Path(__file__).parent.parent)
SETUP_SCRIPT = os.path.join(CHECKOUT, "launch", "tpu_vm_setup.sh")
ARCHIVE = "avjax.tar.gz"


def gcloud(args: argparse.Namespace, verb: str, *rest: str) -> list[str]:
    """Returns a command of gcloud for the queued resource."""
    command = ["gcloud", "compute", "tpus", "queued-resources", verb, *rest, f"--zone={args.zone}"]
    return [*command, "--quiet"] + ([f"--project={args.project}"] if args.project else [])


def create_command(args: argparse.Namespace) -> list[str]:
    """Returns the command that asks for the TPU."""
    one = [f"--node-id={args.name}"]
    several = [f"--node-count={args.slices}", f"--node-prefix={args.name}"]
    return gcloud(
        args,
        "create",
        args.name,
        f"--accelerator-type={args.accelerator}",
        f"--runtime-version={args.runtime}",
        *(one if args.slices == 1 else several),
        *(["--spot"] if args.spot else []),
        *args.option,
    )


def delete_command(args: argparse.Namespace) -> list[str]:
    """Returns the command that gives the TPU back."""
    return gcloud(args, "delete", args.name, "--force")


def state_command(args: argparse.Namespace) -> list[str]:
    """Returns the command that prints the state of the TPU."""
    return gcloud(args, "describe", args.name, "--format=value(state.state)")


def on_workers(args: argparse.Namespace, command: str) -> list[str]:
    """Returns the command that runs a line of shell on all workers at the same time."""
    return gcloud(
        args,
        "ssh",
        args.name,
        "--node=all",
        "--worker=all",
        "--batch-size=all",  # Otherwise 64 workers start and wait for the rest.
        "--ssh-flag=-oServerAliveInterval=15",
        f"--command={command}",
    )


def setup_commands(args: argparse.Namespace, archive: str) -> list[list[str]]:
    """Returns the commands that copy the checkout to all workers and install it.

    Args:
      args: the flags.
      archive: local file that is written.
    """
    copy = gcloud(
        args, "scp", archive, args.setup_script, f"{args.name}:", "--node=all", "--worker=all"
    )
    script = shlex.quote(pathlib.Path(args.setup_script).name)
    unpack = f"mkdir -p avjax && tar -xzf {ARCHIVE} -C avjax && cd avjax && bash ../{script}"
    return [
        ["git", "-C", CHECKOUT, "archive", f"--output={archive}", "HEAD"],
        copy,
        on_workers(args, unpack),
    ]


def run_command(args: argparse.Namespace) -> list[str]:
    """Returns the command that runs avjax on all workers."""
    return on_workers(args, shlex.join(["bash", "avjax/launch/tpu_vm_run.sh", *args.arguments]))
