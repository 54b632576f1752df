"""Checks of a config that need no JAX, so that a mistake is refused at once.

Ranges of numbers, keys of data sets, folders that must exist.  The functions that a config names
check their own arguments when they are called.
"""

import math
import os
from collections.abc import Container, Iterator, Mapping
from typing import Any

from avjax.config import known_keys, ranges, signatures
from avjax.runtime import workdir as workdirs

# (minimum, maximum or None) of each integer that the loop reads.
INTEGER_KEYS = {
    "seed": (0, 2**63 - 1), "batch_size": (1, None), "steps": (1, None), "log_every": (1, None),
    "save_every": (1, None), "max_to_keep": (1, None), "refresh_every": (0, None),
    "init_examples": (1, 2**16),
}  # fmt: skip
OPTIONAL_INTEGER_KEYS = {"max_nonfinite_steps": (1, None), "fsdp": (1, None)}
BOOLEAN_KEYS = ("profile", "async_checkpointing")
REQUIRED_PARTS = ("data", "method", "optimizer", "evals", "sharding_rules")
DTYPES = ("float32", "bfloat16", "float16", "float64")
MAX_LEARNING_RATE = 1e4
# Data sets that write the folder `root` themselves.
WRITES_ROOT = ("avjax.data.datasets.synthetic", "avjax.data.datasets.decoded_cache")


def check(config: dict, folders: Container[str] = ()) -> None:
    """Raises the errors of `check_values`, and errors of missing folders.

    Args:
      config: a plain dict, as in `configs/`.
      folders: of the runs that need not exist yet, for config.init_from.

    Raises:
      ValueError, FileNotFoundError: with the dotted key.
    """
    check_values(config)
    check_warmup(config["optimizer"])
    for key, value in _leaves(config["optimizer"], "config.optimizer"):
        if key.endswith(".learning_rate") and isinstance(value, int | float):
            ranges.check_number(key, value, minimum=0, maximum=MAX_LEARNING_RATE)
    _check_loading(config, "config")
    for key, value in config["data"].items():
        if isinstance(value, Mapping) and isinstance(value.get("source"), Mapping):
            _check_root(value["source"], f"config.data.{key}.source")
    for folder in _init_folders(config.get("init_from")):
        if folder not in folders:
            try:
                workdirs.check_has_checkpoints(folder)
            except FileNotFoundError as error:
                raise ValueError(f"config.init_from: {error}") from error


def check_values(config: dict) -> None:
    """Raises ValueError if a key of the config is missing or unknown, or a value out of range."""
    if missing := [key for key in (*INTEGER_KEYS, *REQUIRED_PARTS) if key not in config]:
        others = [key for key in config if key not in (*INTEGER_KEYS, *REQUIRED_PARTS)]
        near = signatures.did_you_mean(missing[0], others)
        raise ValueError(
            f"config.{missing[0]} is missing{near or '.'} See configs/smoke.py for all keys"
        )
    for key, (minimum, maximum) in INTEGER_KEYS.items():
        ranges.check_integer(f"config.{key}", config[key], minimum, maximum)
    for key, (minimum, maximum) in OPTIONAL_INTEGER_KEYS.items():
        if key in config:
            ranges.check_integer(f"config.{key}", config[key], minimum, maximum)
    for key in BOOLEAN_KEYS:
        if not isinstance(config.get(key, False), bool):
            raise ValueError(f"config.{key}={config[key]!r}: use True or False")
    ranges.check_number("config.watchdog", config.get("watchdog", 0), minimum=0)
    for key in REQUIRED_PARTS[:-1]:
        if not isinstance(config[key], dict):
            raise ValueError(
                f"config.{key}={config[key]!r}: use a dictionary, see configs/smoke.py"
            )
    known_keys.check(config)
    for key, value in _leaves(config, "config"):
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{key}={value}: use a finite number")
        if key.endswith(".dtype") and value not in (None, *DTYPES):
            raise ValueError(f"{key}={value!r}: use one of {', '.join(DTYPES)}")
    if not isinstance(config["data"].get("train"), dict):
        raise ValueError(
            "config.data.train is missing: give a source, a clip_sampler and transforms"
        )


def check_warmup(spec: dict | list | tuple, key: str = "config.optimizer") -> None:
    """Raises ValueError if a schedule of an optimizer decays before its warm-up ends.

    Args:
      spec: of the optimizer, or a part of it.
      key: the dotted key of `spec`.
    """
    if isinstance(spec, dict) and spec.get("warmup_steps", 0) >= spec.get("decay_steps", math.inf):
        raise ValueError(
            f"{key}.warmup_steps={spec['warmup_steps']} of decay_steps={spec['decay_steps']}: use "
            "fewer, or a larger config.steps"
        )
    for name, part in spec.items() if isinstance(spec, dict) else enumerate(spec):
        if isinstance(part, dict | list | tuple):
            check_warmup(part, f"{key}.{name}")


def _check_loading(spec: Any, key: str) -> None:
    """Checks the numbers of each data set in a config, such as `workers`."""
    if isinstance(spec, Mapping):
        if {"source", "clip_sampler"} <= spec.keys() and "fn" not in spec:
            ranges.check_loading(spec, f"{key}.")
        else:
            for name, part in spec.items():
                _check_loading(part, f"{key}.{name}")


def _check_root(source: Mapping, key: str) -> None:
    """Raises FileNotFoundError if a data set of avjax reads a folder that does not exist."""
    name, root = source.get("fn"), source.get("root")
    if isinstance(source.get("source"), Mapping):
        _check_root(source["source"], f"{key}.source")
    ours = isinstance(name, str) and name.startswith("avjax.data.dataset")
    if not ours or name in WRITES_ROOT or not isinstance(root, str) or "://" in root:
        return
    if not os.path.isdir(root):
        what = f"{root} is a file" if os.path.isfile(root) else f"no folder {root}"
        raise FileNotFoundError(f"{key}: {what}: set root to the folder of the files")


def _init_folders(init_from: Any) -> Iterator[str]:
    """Yields the folders of config.init_from; see `init_from.apply`."""
    if isinstance(init_from, list | tuple):
        for part in init_from:
            yield from _init_folders(part)
    folder = init_from.get("folder") if isinstance(init_from, Mapping) else init_from
    if isinstance(folder, str):
        yield folder


def _leaves(tree: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yields (dotted key, leaf) of nested dicts and lists."""
    if isinstance(tree, dict | list | tuple):
        for name, part in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _leaves(part, f"{key}.{name}")
    else:
        yield key, tree
