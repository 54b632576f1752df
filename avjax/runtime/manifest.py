"""Manifests of checkpoints: the size and hash of every file, so that damage is found.

Orbax stores arrays without checksums: a flipped bit would be restored as another number.
"""

import concurrent.futures
import functools
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from avjax.runtime.atomic import sync_folder, write_atomic

FILENAME = "manifest.json"
NUM_THREADS = 8  # Hashing releases the GIL.


def write(folder: str | os.PathLike, **fields: Any) -> None:
    """Writes the manifest of a complete checkpoint.

    Its files and folders are on disk before, so that a checkpoint that has a manifest survives a
    power failure.

    Args:
      folder: of the checkpoint of one step.
      fields: what else is known of it, values of JSON, e.g. step=100.

    Raises:
      OSError: the disk is full, or fails.
    """
    folder = Path(folder)
    files = {name: [size, digest] for name, size, digest in _hash_files(folder, sync=True)}
    for path in (*(path for path in folder.rglob("*") if path.is_dir()), folder, folder.parent):
        sync_folder(path)
    content = {**fields, "files": files}
    content["hash"] = _hash_content(content)
    write_atomic(folder / FILENAME, json.dumps(content, indent=1), sync=True)


def exists(folder: str | os.PathLike) -> bool:
    """Whether a checkpoint has a manifest, which is written last.

    Args:
      folder: of the checkpoint.
    """
    return (Path(folder) / FILENAME).is_file()


def damage(folder: str | os.PathLike, hashes: bool = True) -> str:
    """Compares the files of a checkpoint with its manifest.

    Files that the manifest does not name are ignored.

    Args:
      folder: of the checkpoint.
      hashes: False compares names and sizes only.

    Returns:
      What is wrong, one line; "" if all files are as they were saved.
    """
    folder = Path(folder)
    try:
        content = json.loads((folder / FILENAME).read_text(encoding="utf-8"))
        expected = {
            str(name): (int(size), str(digest)) for name, (size, digest) in content["files"].items()
        }
        if set(content) != {"step", "files"}:  # The first ones had no hash.
            if content.pop("hash") != _hash_content(content):
                return f"{FILENAME} is not what was saved"
    except FileNotFoundError:
        return f"{FILENAME} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{FILENAME} cannot be read ({type(error).__name__})"
    sizes = {}
    for name, (size, _) in expected.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        sizes[name] = path.stat().st_size
        if sizes[name] != size:
            return f"{name} has {sizes[name]} bytes, {size} were saved"
    if not hashes:
        return ""
    try:
        found = {name: digest for name, _, digest in _hash_files(folder)}
    except OSError as error:
        return f"a file cannot be read ({error.strerror})"
    changed = [name for name, (_, digest) in expected.items() if found.get(name) != digest]
    return f"{changed[0]} is not what was saved" if changed else ""


def _hash_content(content: dict) -> str:
    """Returns the hash of what a manifest says without its own hash."""
    text = json.dumps(content, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _hash_files(folder: Path, sync: bool = False) -> list[tuple[str, int, str]]:
    """Returns (relative name, size, hash) of each file below a folder but its manifest.

    Args:
      folder: of a checkpoint.
      sync: wait until the files are on disk.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != FILENAME)
    with concurrent.futures.ThreadPoolExecutor(NUM_THREADS) as pool:
        hashed = pool.map(functools.partial(_hash_file, sync=sync), paths)
    return [
        (path.relative_to(folder).as_posix(), size, digest)
        for path, (size, digest) in zip(paths, hashed)
    ]


def _hash_file(path: Path, sync: bool) -> tuple[int, str]:
    """Returns (size, hash) of a file."""
    with open(path, "rb") as file:
        if sync:
            os.fsync(file.fileno())
        # Its buffer is small: large ones, one for each thread and file, fragment the heap.
        digest = hashlib.file_digest(file, functools.partial(hashlib.blake2b, digest_size=32))
        return file.tell(), digest.hexdigest()
