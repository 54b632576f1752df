"""Files of equal content, found with few reads: equal size, equal samples, equal digest."""

import functools
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable

SAMPLE_BYTES = 4096  # Bytes compared at the beginning, in the middle and at the end.
MAX_FILES = 100_000  # Files; more are not compared, since each would have to be looked up.
DIGEST_CACHE_SIZE = 2**17  # Digests remembered, so that a second split of a data set costs nothing.


def find_duplicates(root: str, paths: Iterable[str]) -> list[list[str]]:
    """Returns sets of two or more files of equal content, each in the order of `paths`.

    Args:
      root: the folder that the paths are relative to.
      paths: at most MAX_FILES regular files.  Empty and unreadable files have no duplicates.
    """
    groups = _split_by_key(paths, functools.partial(_file_key, _file_size, root))
    for function in (_sample_digest, _full_digest):
        key = functools.partial(_file_key, function, root)
        groups = [part for group in groups for part in _split_by_key(group, key)]
    return groups


def _split_by_key(paths, key):
    """The parts of `paths` with equal keys, of two or more; None equals nothing."""
    by_key = defaultdict(list)
    for path in paths:
        by_key[key(path)].append(path)
    return [part for value, part in by_key.items() if value is not None and len(part) > 1]


def _file_key(function, root, path):
    """function(path, size, time of change) of a file; None if it has no duplicates."""
    whole = os.path.join(root, path)
    try:
        status = os.stat(whole)
        return function(whole, status.st_size, status.st_mtime_ns) if status.st_size else None
    except OSError:  # The decoder will name the file and the reason.
        return None


def _file_size(path, size, changed):
    return size


@functools.lru_cache(DIGEST_CACHE_SIZE)
def _sample_digest(path, size, changed):
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        for at in sorted({0, max(0, size // 2), max(0, size - SAMPLE_BYTES)}):
            file.seek(at)
            digest.update(file.read(SAMPLE_BYTES))
    return digest.digest()


@functools.lru_cache(DIGEST_CACHE_SIZE)
def _full_digest(path, size, changed):
    if size <= SAMPLE_BYTES:
        return _sample_digest(path, size, changed)  # Which has read it all.
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()
