"""The data sets that a run's config may name for its own evaluation: they only read files."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from avjax.config import trust as trust_

BUILTIN = "avjax.data.datasets."
READERS = (
    "activitynet", "audioset", "dcase2014", "esc50", "folder", "hmdb51", "kinetics", "shards",
    "swapped_audio", "tfds", "ucf101", "vggsound",
)  # fmt: skip
WRITERS = (f"{BUILTIN}synthetic", f"{BUILTIN}decoded_cache")  # They write files into `root`.
BY_NAME = "avjax.data.dataset"  # Its argument `source` is the name of a data set.


def check(spec: Any, key: str, folder: str, trust: Sequence[str]) -> tuple[str, ...]:
    """Checks the data sets that a config names; imports and opens nothing.

    Args:
      spec: of a source, as in the config of a run.
      key: its dotted key, for messages.
      folder: of the run.  Data sets that write files may do so within it.
      trust: packages that the config may name.

    Returns:
      `trust` and the data sets, for `config.build`.

    Raises:
      ValueError: a data set may write files elsewhere, or has a name that is not trusted.
    """
    found = [*trust, *(BUILTIN + name for name in READERS)]
    for path, name in trust_.iter_names(spec, key):
        if any(str(name).startswith(f"{writer}.") for writer in WRITERS):
            trust_.check_names({"fn": name}, path.rpartition(".")[0], trust)
    for path, part in _parts(spec, key):
        name = part.get("fn")
        if name in WRITERS and not trust_.is_below(name, trust):
            _check_folder(part, path, folder)
            found.append(name)
        if name == BY_NAME:
            _check_source(part, path, trust)
            found.append(name)
    return tuple(found)


def _parts(spec: Any, key: str) -> Iterator[tuple[str, Mapping]]:
    """Yields (dotted key, part) of all mappings in a spec."""
    if isinstance(spec, Mapping):
        yield key, spec
        for name, part in spec.items():
            yield from _parts(part, f"{key}.{name}")
    elif isinstance(spec, list | tuple):
        for i, part in enumerate(spec):
            yield from _parts(part, f"{key}.{i}")


def _check_folder(part, path, folder):
    """Raises ValueError if a data set may write files outside of the folder of the run."""
    where, home = part.get("root"), os.path.realpath(folder)
    if not isinstance(where, str) or os.path.commonpath([home, os.path.realpath(where)]) != home:
        raise ValueError(
            f"{path}.root={where!r} is refused in the config of a run, which may come from "
            f"anyone: {part['fn']} writes files there, outside of {folder}; if you trust the run, "
            f"add --trust {part['fn']}, or give a suite other data"
        )


def _check_source(part, path, trust):
    """Raises ValueError unless the data set that `avjax.data.dataset` opens only reads files."""
    source = part.get("source")
    name, _, function = str(source).removeprefix(BUILTIN).partition(".")
    if name not in READERS or function.startswith("_") or "." in function:
        trust_.check_names({"fn": source}, f"{path}.source", trust)
