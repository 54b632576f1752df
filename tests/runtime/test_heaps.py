"""Memory that was freed goes back to the system."""

import os
import platform

import pytest

from avjax.runtime import heaps

BLOCK, COUNT = 100_000, 1000  # Too small for a mapping of its own: in the heap.


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_freed_blocks_below_one_in_use_are_returned():
    blocks = [bytearray(os.urandom(1) * BLOCK) for _ in range(COUNT)]
    kept = blocks[::50]  # Each a boundary that the heap cannot shrink below.
    del blocks
    before = resident()
    heaps.trim()
    assert before - resident() > BLOCK * COUNT / 2 and len(kept) == COUNT / 50
