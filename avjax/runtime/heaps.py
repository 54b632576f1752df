"""Limits what the heaps of glibc keep of the memory that a process has freed."""

import ctypes
import os
import sys

ARENA_MAX = -8  # glibc's malloc.h
MIN_ARENAS = 2


def limit_arenas() -> None:
    """Lets all threads of this process share one heap per core; call it before threads start.

    glibc has eight for each core, and each save and each decoding thread leaves gaps in another
    one: the memory of a run that saves grows.  No effect on systems other than Linux, or if
    MALLOC_ARENA_MAX is set.
    """
    if not sys.platform.startswith("linux") or "MALLOC_ARENA_MAX" in os.environ:
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:  # Other C libraries have none.
        set_option(ARENA_MAX, max(MIN_ARENAS, len(os.sched_getaffinity(0))))


def trim() -> None:
    """Gives the free pages of all heaps back to the system, where the C library can do that."""
    if sys.platform.startswith("linux"):
        malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if malloc_trim is not None:
            malloc_trim(0)
