"""The blocks that residual nets are made of: their names, stages and strides."""

from collections.abc import Mapping


def blocks(net, counts: Mapping[int, tuple[int, ...]]) -> list[tuple[str, int, int]]:
    """(name, stage, stride) of each block of a module: `counts[net.depth][stage]` of them.

    The first of each stage but that of the first halves the resolution.  ValueError if `counts`
    lacks the depth.
    """
    if net.depth not in counts:
        raise ValueError(f"{type(net).__name__} of depth {net.depth}: there are {sorted(counts)}")
    return [
        (f"conv{stage + 2}x_{i}", stage, 2 if stage and not i else 1)
        for stage, count in enumerate(counts[net.depth])
        for i in range(count)
    ]
