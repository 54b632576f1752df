"""How every command reads its arguments, and how it reports an error."""

import argparse
import dis
import logging as python_logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from avjax.config import overrides, signatures, tree
from avjax.runtime.filenames import any_name_on_screen

# What avjax raises to say what is wrong with a file, a config or a machine.
KNOWN = (ValueError, RuntimeError, FloatingPointError, TypeError)
HERE = os.path.dirname(os.path.dirname(__file__)) + os.sep
KEYS = """keys of the config:
  --config.KEY=VALUE sets a key, e.g. --config.batch_size=64, --config.data.train.workers=4 or
  --config.method.negatives.fn=avjax.losses.negatives.memory_bank
  --config.method.negatives.num_negatives=16.
  A KEY is one that the config has, or any argument of the function that `fn` names beside it;
  also init_from, on_device, stages, and arguments of avjax.data.pipeline in config.data.train and
  in the data of config.evals. Items of a list are numbered: --config.data.train.transforms.0.hue=0.
  A VALUE is a Python literal, else text. What refers to a key follows it.
  --dry_run prints the whole config."""
CACHE = """compiled programs:
  are kept in ~/.cache/avjax/compiled, or below XDG_CACHE_HOME, so that a second start is quick; the
  folder may be deleted at any time. JAX_COMPILATION_CACHE_DIR=DIR keeps them elsewhere,
  JAX_ENABLE_COMPILATION_CACHE=false keeps none."""


def parser(command: str, doc: str, *more: str) -> argparse.ArgumentParser:
    """An ArgumentParser of `python -m avjax.<command>`, with `doc` and `more` as its help."""
    return argparse.ArgumentParser(
        prog=f"python -m avjax.{command}",
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
    """Calls action(arguments), and exits with the number it returns if that is not 0; Ctrl-C: 130.

    An error that avjax raises ends the program in one line and with exit code 1; one that it does
    not expect, in its traceback and a line that says so.  --debug shows the traceback of any.

    Args:
      parser: a parser of flags; unknown ones of the form --config.KEY=VALUE become the list
        `settings` of (key, text) if it has a flag --config, all others are refused.
    """
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    argv = sys.argv[1:] if argv is None else argv
    any_name_on_screen()
    try:
        status = action(arguments(parser, argv))
    except KeyboardInterrupt:
        if "--debug" in argv:
            raise
        print("avjax: interrupted", file=sys.stderr)
        status = 130
    except Exception as error:
        if "--debug" in argv:
            raise
        if not expected(error):
            traceback.print_exc()
        raise SystemExit(f"avjax: {line(error)}") from error
    if isinstance(status, int) and status:
        sys.exit(status)


def arguments(parser, argv) -> argparse.Namespace:
    """The parsed arguments, with `settings`; ValueError for what the parser refuses."""

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
            near = signatures.nearest(word.split("=")[0], flags)
            refuse(f"no such argument: {word}{near}")
        if not equals and (not unknown or unknown[0].startswith("--")):
            refuse(f"{word}: give a value, {word}=VALUE")
        args.settings.append((key, text if equals else unknown.pop(0)))
    return args


def expected(error: BaseException) -> bool:
    """Whether an error says what a user can do: avjax raised it, or the machine lacks something."""
    if isinstance(error, OSError | ImportError | MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return True
    if not isinstance(error, KNOWN):
        return False
    return raised(error, HERE)


def raised(error: BaseException, where: str) -> bool:
    """Whether a `raise` of a file whose path begins with `where` made an error."""
    at = error.__traceback__
    while at.tb_next:
        at = at.tb_next
    code = at.tb_frame.f_code
    meant = code.co_code[at.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    return meant and code.co_filename.startswith(where)


def line(error: BaseException) -> str:
    """An error in one line: never the bare repr of a key, and with its type if that is all."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    text = " ".join(text.split())
    if "RESOURCE_EXHAUSTED" in text:
        return f"out of memory: use a smaller config.batch_size, or config.method.chunks=2 ({text})"
    if expected(error) and text:
        return text
    return f"{type(error).__name__}: {text}"


def loaded(args: argparse.Namespace):
    """(module of --config, its ConfigDict with all --config.KEY=VALUE set)."""
    module, config = made("--config", args.config)
    for dropped in overrides.apply(config, args.settings):
        print(dropped, file=sys.stderr)
    if key := tree.unset(config):
        value = "DIR" if key.endswith(("root", "folder")) else "VALUE"
        raise ValueError(f"config.{key} is not set: add --config.{key}={value}")
    return module, config


def made(flag: str, text: str):
    """(module, ConfigDict) of a config file, given as FILE[:NAME] to a flag."""
    file, _, name = text.partition(":")
    module = imported(flag, file)
    if not hasattr(module, "get_config"):
        raise ValueError(f"{flag} {file} has no function get_config(): see configs/smoke.py")
    try:
        return module, tree.own(module.get_config(*([name] if name else [])))
    except Exception as error:
        raise ValueError(f"{flag} {text}: {told_by(file, error)}") from error


def imported(flag: str, file: str):
    """The module of a config file; ValueError names the file and the line of what is wrong."""
    import importlib.util

    if not Path(file).is_file():
        beside = Path(file).parent
        there = ", ".join(sorted(p.name for p in beside.glob("*.py") if p.stem not in SHARED))
        raise ValueError(f"{flag} {file}: no such file; {beside} has {there or 'no config'}")
    spec = importlib.util.spec_from_file_location("config_file", file)
    if spec is None:
        raise ValueError(f"{flag} {file}: a config is a Python file, its name ends in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{flag} {file}: {told_by(file, error)}") from error
    return module


SHARED = ("__init__", "parts")  # Not configs.


def told_by(file: str, error: Exception) -> str:
    """What a config file raised; with the line, unless it is a message of its own."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {error.msg}"
    if isinstance(error, ValueError) and raised(error, ""):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file]
    return f"line {lines[-1] if lines else 1}: {line(error)}"


def start_jax() -> None:
    """Keeps compiled programs in the user's cache folder, unless JAX's own variables say where."""
    import jax
    from absl import flags, logging

    devices = os.environ.get("JAX_NUM_CPU_DEVICES", "1")
    if not devices.isdigit() or int(devices) < 1:
        raise ValueError(f"JAX_NUM_CPU_DEVICES={devices}: use a whole number of at least 1")
    flags.FLAGS.mark_as_parsed()  # Libraries read theirs.
    # A config is built when it is checked and when it runs, and data sets occur in it repeatedly.
    python_logging.basicConfig(format="%(levelname)s: %(message)s")
    for handler in python_logging.getLogger().handlers:
        handler.addFilter(once())
    logging.set_verbosity(logging.WARNING)  # JAX tells of every backend that is not there.
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "avjax" / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"compiled programs are not kept: {error}", file=sys.stderr)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def once() -> Callable:
    """A filter for a logging handler: of equal messages only the first passes."""
    seen = set()

    def first(record) -> bool:
        key = record.name, record.levelno, record.getMessage()
        new = key not in seen
        seen.add(key)
        return new

    return first
