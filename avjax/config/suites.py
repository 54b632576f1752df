"""The suites of a downstream evaluation, named on the command line."""

import importlib.util
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from avjax.config import app, config_files, overrides, signatures

REQUIRED_KEYS = ("title", "data", "protocol", "headline")


def load_suites(texts: list[str], settings: list[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """Returns {name: config} of suites, with keys of the command line set.

    Args:
      texts: SUITE[:ARGUMENT], see `config_files.find_config`.
      settings: (dotted key that begins with the name of a suite, text of its value).

    Raises:
      ValueError: a suite does not exist, or a key or a value is wrong.
    """
    found = {}
    for text in texts:
        name = config_files.run_name(text).replace("-", "_")
        if name in found:
            raise ValueError(f"--suite {text} is given twice")
        _, found[name] = app.load_config_file("--suite", text, "suites")
        if missing := [key for key in REQUIRED_KEYS if key not in found[name]]:
            raise ValueError(f"--suite {text} is not a suite: it has no key {missing[0]}")
    for key, _ in settings:
        if (name := key.split(".")[0]) not in found:
            near = signatures.did_you_mean(name, found)
            raise ValueError(
                f"--config.{key}: no such suite{near or '.'} Suites: {', '.join(found)}"
            )
    config = ConfigDict(found)
    overrides.apply(config, settings)
    return config.to_dict()


def list_suites() -> list[str]:
    """Returns a line per shipped suite: its name and what it is."""
    shipped = config_files.shipped_configs("suites")
    width = max(map(len, shipped))
    return [f"{name:<{width}}  {_first_sentence(path)}" for name, path in shipped.items()]


def _first_sentence(path: Path) -> str:
    spec = importlib.util.spec_from_file_location("suite", path)
    assert spec and spec.loader  # A shipped file.
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return (module.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
