"""Manifests of checkpoints: the size and hash of every file, so that damage is found.

Orbax stores arrays without checksums: a flipped bit would be restored as another number.
"""

import concurrent.futures
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from avjax.runtime.atomic import write_atomic

FILENAME = "manifest.json"
NUM_THREADS = 8  # Hashing releases the GIL.
CHUNK_BYTES = 2**22


def write(folder: str | os.PathLike, **fields: Any) -> None:
    """Writes the manifest of a complete checkpoint; it survives a power failure.

    Args:
      folder: of the checkpoint of one step.
      fields: what else is known of it, values of JSON, e.g. step=100.
    """
    files = {name: [size, digest] for name, size, digest in _hash_files(Path(folder))}
    text = json.dumps({**fields, "files": files}, indent=1)
    write_atomic(Path(folder) / FILENAME, text, sync=True)


def exists(folder: str | os.PathLike) -> bool:
    """Whether a checkpoint has a manifest, which is written last.

    Args:
      folder: of the checkpoint.
    """
    return (Path(folder) / FILENAME).is_file()


def damage(folder: str | os.PathLike) -> str:
    """Compares the files of a checkpoint with its manifest.

    Files that the manifest does not name are ignored.

    Args:
      folder: of the checkpoint.

    Returns:
      What is wrong, one line; "" if all files are as they were saved.
    """
    folder = Path(folder)
    try:
        expected = json.loads((folder / FILENAME).read_text(encoding="utf-8"))["files"]
        expected = {
            str(name): (int(size), str(digest)) for name, (size, digest) in expected.items()
        }
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
    try:
        found = {name: digest for name, _, digest in _hash_files(folder)}
    except OSError as error:
        return f"a file cannot be read ({error.strerror})"
    changed = [name for name, (_, digest) in expected.items() if found.get(name) != digest]
    return f"{changed[0]} is not what was saved" if changed else ""


def _hash_files(folder: Path) -> list[tuple[str, int, str]]:
    """Returns (relative name, size, hash) of each file below a folder but its manifest."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != FILENAME)
    with concurrent.futures.ThreadPoolExecutor(NUM_THREADS) as pool:
        hashed = pool.map(_hash_file, paths)
    return [
        (path.relative_to(folder).as_posix(), size, digest)
        for path, (size, digest) in zip(paths, hashed)
    ]


def _hash_file(path: Path) -> tuple[int, str]:
    """Returns (size, hash) of a file."""
    digest, size = hashlib.blake2b(digest_size=32), 0
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()
