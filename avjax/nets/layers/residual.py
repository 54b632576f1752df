"""Blocks of residual nets: their names, stages and strides."""

from collections.abc import Mapping
from typing import Any


def block_specs(net: Any, counts: Mapping[int, tuple[int, ...]]) -> list[tuple[str, int, int]]:
    """Lists the blocks of a residual net.

    The first block of each stage but the first halves the resolution.

    Args:
      net: a module with `depth`.
      counts: {depth: number of blocks of each stage}.

    Returns:
      (name, stage, stride) of each block.

    Raises:
      ValueError: `counts` lacks the depth.
    """
    if net.depth not in counts:
        raise ValueError(f"depth={net.depth} of {type(net).__name__}: use one of {sorted(counts)}")
    return [
        (f"conv{stage + 2}x_{i}", stage, 2 if stage and not i else 1)
        for stage, count in enumerate(counts[net.depth])
        for i in range(count)
    ]
