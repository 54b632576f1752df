"""Files that appear under their name only when they are complete, whichever process writes them."""

import contextlib
import os
import secrets
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: str | os.PathLike, sync: bool = False) -> Iterator[str]:
    """Gives a temporary path beside `path`, which is renamed to `path` when the block ends.

    The temporary name is unique, so processes and hosts that write the same file never share
    one: the last to end wins, and readers find one complete file or another.  After an error
    the temporary file is removed and `path` stays as it was.

    Args:
      path: the file to write; its folder must exist.
      sync: wait until the data are on disk, so that not even a power failure leaves half of it.
    """
    part = f"{os.fspath(path)}.{secrets.token_hex(4)}.part"
    try:
        yield part
        if sync:
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(part)
        raise


def write_atomic(path: str | os.PathLike, data: str | bytes, sync: bool = False) -> None:
    """Writes `data` (text as UTF-8) to `path`, see `replacing`."""
    with replacing(path, sync) as part, open(part, "wb") as file:
        file.write(data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)
