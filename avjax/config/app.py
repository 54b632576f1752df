"""Command-line parsing and error reports, shared by all commands."""

import argparse
import dis
import logging as python_logging
import os
import sys
import traceback
import types
from collections.abc import Callable
from pathlib import Path

from ml_collections import ConfigDict

from avjax.config import overrides, signatures, tree
from avjax.config.config_files import find_config
from avjax.config.program import program_name
from avjax.runtime.filenames import escape_unprintable_output

# Errors that avjax raises about a file, a config or a machine.
USER_ERRORS = (ValueError, RuntimeError, FloatingPointError, TypeError)
PACKAGE_FOLDER = os.path.dirname(os.path.dirname(__file__)) + os.sep
CONFIG_HELP = """keys of the config:
  --config.KEY=VALUE sets a key, e.g. --config.batch_size=64, --config.data.train.workers=4 or
  --config.method.negatives.fn=avjax.losses.memory_bank
  --config.method.negatives.num_negatives=16.
  A KEY is one that the config has, or any argument of the function that `fn` names beside it;
  also init_from, device_transform, stages, profile, watchdog, max_nonfinite_steps, and arguments
  of avjax.data.pipeline in config.data.train and in the data of config.evals. Items of a list are
  numbered: --config.data.train.transforms.0.hue=0. A VALUE is a Python literal, else text.
  References to a key follow it.
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
        if "--debug" in argv:
            raise
        if not is_user_error(error):
            traceback.print_exc()
        raise SystemExit(f"avjax: {format_error(error)}") from error
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


def load_config(args: argparse.Namespace) -> tuple[types.ModuleType, ConfigDict]:
    """Returns (module of --config, its ConfigDict with all --config.KEY=VALUE set).

    Raises:
      ValueError: the file, a key or a value is wrong, or a required key is not set.
    """
    module, config = load_config_file("--config", args.config)
    for dropped in overrides.apply(config, args.settings):
        print(dropped, file=sys.stderr)
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


def start_jax() -> None:
    """Sets up JAX: the cache of compiled programs, logging, simulated CPU devices.

    Raises:
      ValueError: JAX_NUM_CPU_DEVICES is not a positive integer.
    """
    import jax
    from absl import flags, logging

    devices = os.environ.get("JAX_NUM_CPU_DEVICES", "1")
    if not devices.isdigit() or int(devices) < 1:
        raise ValueError(f"JAX_NUM_CPU_DEVICES={devices}: use a whole number of at least 1")
    flags.FLAGS.mark_as_parsed()  # Libraries read theirs.
    # Data sets are built several times: each message is shown once.
    python_logging.basicConfig(format="%(levelname)s: %(message)s")
    for handler in python_logging.getLogger().handlers:
        if type(handler) is python_logging.StreamHandler:  # Not those of an application.
            handler.addFilter(drop_duplicates())
    logging.set_verbosity(logging.WARNING)  # JAX reports every missing backend.
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "avjax" / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"compiled programs are not cached: {error}", file=sys.stderr)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def drop_duplicates() -> Callable:
    """Returns a filter for a logging handler that drops repeated messages."""
    seen = set()

    def first(record) -> bool:
        key = record.name, record.levelno, record.getMessage()
        new = key not in seen
        seen.add(key)
        return new

    return first
