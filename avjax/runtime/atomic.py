"""Atomic writes: a file appears under its name only when it is complete."""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator


@contextlib.contextmanager
def atomic_replace(path: str | os.PathLike, sync: bool = False) -> Iterator[str]:
    """Yields a temporary path beside `path`, which is renamed to `path` at the end of the block.

    The temporary name is unique, so processes and hosts may write the same file: the last one
    wins, and readers always see a complete file.  After an error the temporary file is removed
    and `path` is unchanged.

    Args:
      path: the file to write; its folder must exist.
      sync: wait until the data are on disk, which also survives a power failure.

    Raises:
      OSError: the file cannot be written.
    """
    part = f"{os.fspath(path)}.{secrets.token_hex(4)}.part"
    try:
        yield part
        if sync:
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(part, path)
        if sync:
            sync_folder(os.path.dirname(path) or ".")
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(part)
        raise


def write_atomic(path: str | os.PathLike, data: str | bytes, sync: bool = False) -> None:
    """Writes a file that appears under its name only when complete.

    Args:
      path: the file.
      data: its content; text is encoded as UTF-8.
      sync: see `atomic_replace`.
    """
    with atomic_replace(path, sync) as part, open(part, "wb") as file:
        file.write(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)


def append(path: str | os.PathLike, data: str | bytes) -> None:
    """Appends to a file, which is created if it does not exist; after an error it is unchanged.

    Args:
      path: the file.
      data: text is encoded as UTF-8.

    Raises:
      OSError: not all could be written.
    """
    left = memoryview(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)
    with open(path, "ab", buffering=0) as file:
        size = file.tell()
        try:
            while left:
                left = left[file.write(left) :]
        except OSError:
            file.truncate(size)
            raise


def sync_folder(folder: str | os.PathLike) -> None:
    """Waits until the names of the files in a folder are on disk.

    Args:
      folder: the folder; nothing is done on file systems that cannot sync folders.

    Raises:
      OSError: the disk fails.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
