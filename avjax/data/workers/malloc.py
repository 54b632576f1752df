"""Tunes glibc malloc for large clip buffers."""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def retain_freed_memory() -> None:
    """Lets this process keep the memory of a clip for the next one.

    glibc otherwise returns each megabyte to the kernel and gets it back page by page, which took
    half of the time of reading shards.  No effect on systems other than Linux.
    """
    if not sys.platform.startswith("linux"):
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:  # Other C libraries have none.
        set_option(MMAP_THRESHOLD, 32 << 20)  # The most that it takes.
        set_option(TRIM_THRESHOLD, 256 << 20)
