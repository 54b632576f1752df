"""Checks the files of a checkpoint before Orbax opens them.

A checkpoint from elsewhere may hold links, FIFOs, or names of arrays that lead to other folders:
without OCDBT, Orbax appends the name of an array to the path of the checkpoint.  (With OCDBT,
TensorStore itself refuses paths that leave the folder.)
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from avjax.runtime.regular_files import read_text, special_kind

METADATA = "_METADATA"  # Orbax: the tree of an item.
STEP_METADATA = "_CHECKPOINT_METADATA"  # Orbax: the items of a step.
ARRAY_METADATAS = "array_metadatas"  # Orbax: a folder with a file per process.


def check(folder: str | os.PathLike) -> None:
    """Checks that all of a checkpoint lies within its folder.

    Args:
      folder: of a step.

    Raises:
      ValueError: a file is not a regular one or a link out of the folder, or metadata are damaged,
        or name an absolute path or one out of the folder; with the file.
    """
    root = Path(folder).resolve()
    for path in _walk(root):
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise ValueError(
                f"{path} is a link out of the checkpoint, to {os.readlink(path)}: copy the file"
            )
        if not path.exists():
            if not path.is_symlink():
                continue  # A run that is going on has renamed or deleted it since.
            raise ValueError(f"{path} is a link to a file that does not exist")
        if not path.is_dir() and (kind := special_kind(path)):
            raise ValueError(f"{path} is {kind}, not a file of a checkpoint")
        if path.name in (METADATA, STEP_METADATA) or path.parent.name == ARRAY_METADATAS:
            _check_metadata(path)


def _walk(root: Path) -> Iterator[Path]:
    """Yields all files, folders and links below a folder; links are not followed."""
    for folder, names, files in os.walk(root):
        yield from (Path(folder, name) for name in (*names, *files))


def _check_metadata(path: Path) -> None:
    """Raises ValueError if metadata of Orbax are no JSON, or name a path out of the checkpoint."""
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    for name in _array_names(content):
        if "\0" in name or os.path.isabs(name) or ".." in name.replace("\\", "/").split("/"):
            raise ValueError(f"{path} names {name!r}, a path out of the checkpoint")


def _array_names(content: Any) -> Iterator[str]:
    """Yields the names of arrays and of items, as Orbax appends them to the path of a checkpoint.

    Whatever has another form is left to Orbax, which refuses it.
    """
    content = content if isinstance(content, dict) else {}
    for entry in _mapping(content.get("tree_metadata")).values():
        parts = _mapping(entry).get("key_metadata")
        parts = parts if isinstance(parts, list) else []
        yield ".".join(str(_mapping(part).get("key")) for part in parts)
    entries = content.get("array_metadatas")
    for entry in entries if isinstance(entries, list) else ():
        yield str(_mapping(_mapping(entry).get("array_metadata")).get("param_name"))
    yield from map(str, _mapping(content.get("item_handlers")))


def _mapping(value: Any) -> dict:
    return value if isinstance(value, dict) else {}
