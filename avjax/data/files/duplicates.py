"""Files of equal content, found without reading many: equal size, equal samples, equal digest."""

import functools
import hashlib
import os
from collections import defaultdict

SAMPLE = 4096  # Bytes compared at the beginning, in the middle and at the end.
MOST = 100_000  # Files; more are not compared, since each would have to be looked up.
KEPT = 2**17  # Digests remembered, so that a second split of a data set costs nothing.


def copies(root: str, paths) -> list[list[str]]:
    """Sets of two or more files of equal content, each in the order of `paths`.

    Args:
      root: the folder that the paths are relative to.
      paths: at most MOST regular files.  An empty file, and one that cannot be read, has no copies.
    """
    alike = _divided(paths, functools.partial(_key, _size, root))
    for function in (_samples, _whole):
        key = functools.partial(_key, function, root)
        alike = [part for group in alike for part in _divided(group, key)]
    return alike


def _divided(paths, key):
    """The parts of `paths` with equal keys, of two or more; a key of None is equal to none."""
    parts = defaultdict(list)
    for path in paths:
        parts[key(path)].append(path)
    return [part for value, part in parts.items() if value is not None and len(part) > 1]


def _key(function, root, path):
    """What a function (path, size, time of change) says of a file; None where it has no copies."""
    whole = os.path.join(root, path)
    try:
        status = os.stat(whole)
        return function(whole, status.st_size, status.st_mtime_ns) if status.st_size else None
    except OSError:  # The decoder will name the file and the reason.
        return None


def _size(path, size, changed):
    return size


@functools.lru_cache(KEPT)
def _samples(path, size, changed):
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        for at in sorted({0, max(0, size // 2), max(0, size - SAMPLE)}):
            file.seek(at)
            digest.update(file.read(SAMPLE))
    return digest.digest()


@functools.lru_cache(KEPT)
def _whole(path, size, changed):
    if size <= SAMPLE:
        return _samples(path, size, changed)  # Which has read it all.
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()
