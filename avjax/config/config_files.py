"""Finds config files: a file of the user, or the name of a shipped config, e.g. `smoke`."""

import importlib
from pathlib import Path

from avjax.config import signatures


def find_config(flag: str, text: str, folder: str = "") -> tuple[str, str]:
    """Returns (path, argument) of a config; the argument is "" if `text` has none.

    Args:
      flag: the flag that names it, for messages.
      text: CONFIG[:ARGUMENT]; CONFIG is a file, with or without the suffix .py, or the name of a
        shipped config: "smoke", "smoke.py" and "configs/smoke.py" work in any folder.
      folder: of the shipped configs, below `configs`: "" or "suites".

    Raises:
      ValueError: there is neither; lists both kinds.

    Example:
      find_config("--config", "world:moco") -> (".../configs/world.py", "moco")
    """
    file, _, argument = text.partition(":")
    for path in (file, f"{file}.py"):
        if Path(path).is_file():
            return path, argument
    name = file.replace("\\", "/").removeprefix("configs/").removeprefix(f"{folder}/")
    shipped = shipped_configs(folder)
    if path := shipped.get(name.removesuffix(".py")):
        return str(path), argument
    here = Path(file).parent
    own = [name for name in config_names(here) if name not in shipped]
    near = signatures.did_you_mean(Path(file).stem, [*own, *shipped])
    local_configs = f"; configs in {here}: {', '.join(own)}" if own else ""
    raise ValueError(
        f"{flag} {file}: no such file{near}{local_configs}; shipped configs: {', '.join(shipped)}"
    )


def shipped_configs(folder: str = "") -> dict[str, Path]:
    """Returns {name: path} of the shipped configs.

    Args:
      folder: below `configs`: "" or "suites".
    """
    path = Path(importlib.import_module("avjax.configs").__path__[0]) / folder
    return {name: path / f"{name}.py" for name in config_names(path)}


def config_names(folder: Path) -> list[str]:
    """Returns the sorted names of the files of a folder that define get_config()."""
    return sorted(
        path.stem
        for path in folder.glob("*.py")
        if path.is_file() and "def get_config" in path.read_text(encoding="utf-8", errors="replace")
    )


def run_name(text: str) -> str:
    """Returns the default name of a run's folder: that of its config, with the argument if any.

    Example: "configs/world.py:moco" -> "world-moco".
    """
    file, _, argument = text.partition(":")
    name = file.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".py")
    return f"{name}-{argument}" if argument else name
