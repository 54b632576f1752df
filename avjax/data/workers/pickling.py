"""A function as bytes for a worker process."""

import os
import pickle  # noqa: S403 (for the name of its error)
from typing import Any

import cloudpickle

from avjax.data.workers import protocol


def dump(function: Any) -> list[bytes]:
    """Returns `function` as a message for a worker process: [its length, its bytes].

    Args:
      function: the object.

    Raises:
      ValueError: it, or a part of it, cannot be sent to a process.
    """
    if not hasattr(os, "fork"):
        raise ValueError("this system has no fork for worker processes: use workers=0 (threads)")
    try:
        data = cloudpickle.dumps(function, protocol=5)
        return [protocol.INT64.pack(len(data)), data]
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"what worker processes are to do cannot be sent to them: {error}; use workers=0 "
            "(threads), or keep locks and open files out of transforms, clip sampler and source"
        ) from error


def check_picklable(function: Any) -> None:
    """Raises a ValueError if `function`, or a part of one, cannot be sent to a process."""
    dump(function)
