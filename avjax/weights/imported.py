"""What a source's reader returns: a state dict, and which of our nets it belongs to.

Sizes are read from the arrays, so own runs of a reference program are read as well as releases.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from avjax.weights.convert import join_names


class Weights(NamedTuple):
    """Weights read from a file.

    Attributes:
      state: {their name: array}.
      parts: {our subtree, "encoders_video": (their prefix, "conv")}; "transposed" if their kernels
        have frequency first.
      model: spec of the Towers that the weights are of.
      clip: clips the net was trained on: arguments of `avjax.data.clip_sampling.uniform`, and
        "size" of the frames.
      inputs: {modality: shape} of a test input of the encoders.
      extras: other parts of a run's `state`: memories, positive sets.
      ignored: regular expressions of names that are not used.
      notes: further entries of the certificate.
    """

    state: dict[str, np.ndarray]
    parts: dict[str, tuple[str, str]]
    model: dict
    clip: dict
    inputs: dict[str, tuple]
    extras: dict[str, Any] = {}
    ignored: tuple[str, ...] = ()
    notes: dict[str, Any] = {}


def infer_depth(
    table: Mapping[int, tuple[int, ...]], counts: tuple[int, ...], state: Mapping[str, np.ndarray]
) -> int:
    """Returns the depth of a net whose stages have some numbers of blocks.

    Args:
      table: {depth: blocks of each stage}.
      counts: blocks of each stage.
      state: the state dict, for the error.

    Raises:
      ValueError: no depth fits.
    """
    for depth, blocks in table.items():
        if blocks == counts:
            return depth
    raise ValueError(f"no known net has stages of {counts} blocks: {join_names(state, 6)}")


def unwrap_model(contents: Any) -> Any:
    """Returns contents["model"], or the contents if they are the weights."""
    return contents["model"] if type(contents) is dict and "model" in contents else contents


def require_key(contents: Any, name: str) -> Any:
    """Returns contents[name].

    Args:
      contents: of a file.
      name: of an entry.

    Raises:
      ValueError: there is none; lists what there is.
    """
    if type(contents) is not dict or name not in contents:
        has = join_names(contents, 6) if type(contents) is dict else type(contents).__name__
        raise ValueError(f"it lacks {name!r}; available: {has}")
    return contents[name]
