"""Command-line parsing and error reports, shared by all commands."""

import argparse
import dis
import json
import os
import sys
import traceback
import types
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from avjax.config import jax_setup, overrides, signatures, tree
from avjax.config.config_files import find_config
from avjax.config.program import program_name
from avjax.runtime import cluster, distributed, workdir, xla_flags
from avjax.runtime.filenames import escape_unprintable_output

# Errors that avjax raises about a file, a config or a machine.
USER_ERRORS = (ValueError, RuntimeError, FloatingPointError, TypeError)
PACKAGE_FOLDER = os.path.dirname(os.path.dirname(__file__)) + os.sep
CONFIG_HELP = """keys of the config:
  --config.KEY=VALUE sets a key, e.g. --config.batch_size=64, --config.data.train.workers=4 or
  --config.method.negatives.fn=avjax.losses.memory_bank
  --config.method.negatives.num_negatives=16.
  A KEY is one that the config has, or any argument of the function that `fn` names beside it;
  also init_from, device_transform, stages, profile, watchdog, max_nonfinite_steps, fsdp,
  async_checkpointing, and arguments of avjax.data.pipeline in config.data.train and in the data of
  config.evals. Items of a list are numbered: --config.data.train.transforms.0.hue=0. A VALUE is a
  Python literal, else text. References to a key follow it.
  --dry_run prints the whole config.  --config.profile=True prints the seconds of each part of the
  start-up and writes a trace of a few steps below WORKDIR/profile."""
CACHE_HELP = """compiled programs:
  are cached in ~/.cache/avjax/compiled, or below XDG_CACHE_HOME, so that a second start is quick;
  the folder may be deleted at any time. JAX_COMPILATION_CACHE_DIR=DIR uses another folder,
  JAX_ENABLE_COMPILATION_CACHE=false disables the cache."""


def make_parser(command: str, doc: str | None, *more: str) -> argparse.ArgumentParser:
    """Returns an ArgumentParser of the module `avjax.<command>` with the help `doc` and `more`."""
    return argparse.ArgumentParser(
        prog=program_name(f"avjax.{command}"),
        description=doc,
        epilog="\n\n".join(more),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def run(
    parser: argparse.ArgumentParser,
    action: Callable,
    argv: list[str] | None = None,
) -> None:
    """Calls action(arguments) and exits with the number that it returns, if any; Ctrl-C: 130.

    In a run of several processes an error of one ends all.

    An error that avjax raises ends the program with one line and exit code 1, an unexpected one
    with its traceback as well.  --debug always shows the traceback.

    Args:
      parser: a parser of flags.  If it has a flag --config, unknown flags of the form
        --config.KEY=VALUE become the list `settings` of (key, text); all others are errors.
      action: a function of the parsed arguments.
      argv: arguments; None for those of the program.
    """
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    argv = sys.argv[1:] if argv is None else argv
    escape_unprintable_output()
    try:
        status = action(parse_arguments(parser, argv))
    except KeyboardInterrupt:
        if "--debug" in argv:
            raise
        print("avjax: interrupted", file=sys.stderr)
        status = 130
    except Exception as error:
        if "--debug" in argv and distributed.current() is None:
            raise
        if "--debug" in argv or not is_user_error(error):
            traceback.print_exc()
        distributed.fail(format_error(error), unexpected=not is_user_error(error))
        raise SystemExit(f"avjax: {format_error(error)}") from error
    finally:
        distributed.finish()
    if isinstance(status, int) and status:
        sys.exit(status)


def parse_arguments(parser, argv) -> argparse.Namespace:
    """Returns the parsed arguments with `settings`; ValueError for invalid ones."""

    def refuse(message):
        raise ValueError(f"{message} (see {parser.prog} --help)")

    parser.error = refuse
    if sum(word.split("=")[0] == "--config" for word in argv) > 1:
        refuse("--config is given twice")
    args, unknown = parser.parse_known_args(argv)
    args.settings = []
    while unknown:
        word = unknown.pop(0)
        key, equals, text = word.removeprefix("--config.").partition("=")
        if not hasattr(args, "config") or not word.startswith("--config."):
            flags = [flag for action in parser._actions for flag in action.option_strings]
            near = signatures.did_you_mean(word.split("=")[0], flags)
            refuse(f"no such argument: {word}{near}")
        if not equals and (not unknown or unknown[0].startswith("--")):
            refuse(f"{word}: give a value, {word}=VALUE")
        args.settings.append((key, text if equals else unknown.pop(0)))
    return args


def is_user_error(error: BaseException) -> bool:
    """Whether an error is for the user: raised by avjax, or by the operating system."""
    if isinstance(error, OSError | ImportError | MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return True
    if not isinstance(error, USER_ERRORS):
        return False
    return raised_in(error, PACKAGE_FOLDER)


def raised_in(error: BaseException, where: str) -> bool:
    """Whether an error comes from a `raise` in a file whose path begins with `where`."""
    at = error.__traceback__
    assert at is not None  # The error was raised.
    while at.tb_next:
        at = at.tb_next
    code = at.tb_frame.f_code
    meant = code.co_code[at.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    return meant and code.co_filename.startswith(where)


def format_error(error: BaseException) -> str:
    """Formats an error as one line, with its type if it is unexpected or has no message."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    text = " ".join(text.split())
    if "RESOURCE_EXHAUSTED" in text:
        return f"out of memory: use a smaller config.batch_size, or config.method.chunks=2 ({text})"
    if is_user_error(error) and text:
        return text
    return f"{type(error).__name__}: {text}"


def load_config(
    args: argparse.Namespace, complete: Callable[[ConfigDict], None] | None = None
) -> tuple[types.ModuleType, ConfigDict]:
    """Returns (module of --config, its ConfigDict with all --config.KEY=VALUE set).

    Args:
      args: parsed arguments.
      complete: sets required keys of a config that are not set; None for a user who must.

    Raises:
      ValueError: the file, a key or a value is wrong, or a required key is not set.
    """
    module, config = load_config_file("--config", args.config)
    for dropped in overrides.apply(config, args.settings):
        print(dropped, file=sys.stderr)
    if complete:
        complete(config)
    if key := tree.first_unset_key(config):
        value = "DIR" if key.endswith(("root", "folder")) else "VALUE"
        raise ValueError(f"config.{key} is not set: add --config.{key}={value}")
    return module, config


def load_config_file(flag: str, text: str, folder: str = "") -> tuple[types.ModuleType, ConfigDict]:
    """Returns (module, ConfigDict) of a config file.

    Args:
      flag: the flag that names it, for messages.
      text: CONFIG[:ARGUMENT], see find_config; ARGUMENT is that of get_config().
      folder: of the shipped configs, see find_config.

    Raises:
      ValueError: the file does not exist or fails; with the line.
    """
    file, argument = find_config(flag, text, folder)
    module = import_config_file(flag, file)
    if not hasattr(module, "get_config"):
        raise ValueError(f"{flag} {file} has no function get_config(): see configs/smoke.py")
    try:
        config = module.get_config(*([argument] if argument else []))
        return module, tree.copy_with_references(config)
    except Exception as error:
        raise ValueError(f"{flag} {text}: {config_file_error(file, error)}") from error


def import_config_file(flag: str, file: str) -> types.ModuleType:
    """Imports a config file; ValueError with its name and line if it fails."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("config_file", file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{flag} {file}: a config is a Python file with the suffix .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{flag} {file}: {config_file_error(file, error)}") from error
    return module


def config_file_error(file: str, error: Exception) -> str:
    """Formats an error of a config file, with the line unless the file raised a ValueError."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {error.msg}"
    if isinstance(error, ValueError) and raised_in(error, ""):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file]
    return f"line {lines[-1] if lines else 1}: {format_error(error)}"


def start_jax(
    args: argparse.Namespace | None = None, facts: Mapping[str, Any] | None = None
) -> None:
    """Sets up JAX: its processes, the cache of compiled programs, logging, XLA flags.

    Args:
      args: with the flags of `distributed.add_flags`; None for the variables alone.
      facts: {what: JSON value} that must be the same in all processes of the run.

    Raises:
      ValueError: JAX_NUM_CPU_DEVICES is not a positive integer, the processes of the run differ,
        or one does not come.
    """
    names = "coordinator", "process_id", "process_count"
    coordinator, process, count = (getattr(args, name, None) for name in names)
    found = cluster.detect(coordinator, process, count)
    jax_setup.set_up()
    xla_flags.apply(jax_setup.cache_folder().parent / "xla_flags.json")
    if found is not None:
        from avjax.runtime import code_version

        distributed.start(found, {**code_version.facts(), **(facts or {})})


def start_jax_alone(command: str) -> None:
    """Sets up JAX for a command that runs in one process, see `start_jax`.

    Raises:
      ValueError: a scheduler started several.
    """
    if found := cluster.detect():
        raise ValueError(
            f"{command} runs in one process, and {found.source} started {found.count}: start one, "
            "e.g. with srun --ntasks=1, or set AVJAX_PROCESS_COUNT=1 if each has other files"
        )
    start_jax()


def config_facts(config: ConfigDict) -> dict[str, Any]:
    """Returns {"config.KEY": value} of a config, for a comparison of the processes of a run."""
    leaves = workdir.iter_leaves(json.loads(json.dumps(config.to_dict(), default=repr)))
    return {f"config.{key}": value for key, value in leaves}
