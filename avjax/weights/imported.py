"""What a source makes of a file: a state dict, and which nets of ours it is of.

A net's sizes are read off the arrays, so that an own run of a reference program is as welcome as
what was released.
"""

from typing import Any, NamedTuple

import numpy as np

from avjax.weights.convert import listed


class Weights(NamedTuple):
    """What a source makes of a file.

    state:  {their name: array}.
    parts:  {our subtree, "encoders_video": (their prefix, "conv")}; "turned" where their kernels
            have the frequencies first.
    model:  the spec of the Towers that these weights are of.
    clip:   what the net was trained to see: arguments of `avjax.data.clip_sampling.even`, and
            "size" of the pictures.
    inputs: {modality: shape} of what its encoders are tried with.
    extras: what else a run's `state` holds: memories, positive sets.
    left:   regular expressions of names that are not taken.
    notes:  what a certificate says beside: numbers and sentences.
    """

    state: dict[str, np.ndarray]
    parts: dict[str, tuple[str, str]]
    model: dict
    clip: dict
    inputs: dict[str, tuple]
    extras: dict[str, Any] = {}
    left: tuple[str, ...] = ()
    notes: dict[str, Any] = {}


def depth_of(table, counts, state) -> int:
    """The depth whose stages have so many blocks; ValueError if there is none."""
    for depth, blocks in table.items():
        if blocks == counts:
            return depth
    raise ValueError(f"stages of {counts} blocks are of no net known here: {listed(state, 6)}")


def within(contents):
    """contents["model"], or the contents where the nets are all there is."""
    return contents["model"] if type(contents) is dict and "model" in contents else contents


def part(contents, name):
    """contents[name]; ValueError if there is no such thing."""
    if type(contents) is not dict or name not in contents:
        has = listed(contents, 6) if type(contents) is dict else type(contents).__name__
        raise ValueError(f"it lacks {name!r}: it holds {has}")
    return contents[name]
