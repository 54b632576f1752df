"""The clips that a run is initialized with: front ends estimate their statistics on them."""

import itertools
import logging
from typing import Any

import jax
import numpy as np

from avjax.data import pipeline


def first_clips(data: dict, min_clips: int) -> dict[str, np.ndarray]:
    """Returns this host's slice of the first training batches, concatenated.

    At most one pass over the records, in the order of repeats=1, so no record occurs twice.  Warns
    if all of the audio is digital silence.

    Args:
      data: arguments of `pipeline.train`, without `shard`, `start` and `stop`.
      min_clips: read as few batches as hold this many clips (global).

    Returns:
      {name: NumPy array [B, ...]}.
    """
    count = num_batches(data, min_clips)
    shard = jax.process_index(), jax.process_count()
    once: dict[str, Any] = {**data, "repeats": 1}
    batches = pipeline.train_batches(**once, shard=shard, start=0, stop=count)
    parts = list(itertools.islice(batches, count))
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    used = data.get("needs_audio", True)
    if used and "audio" in found and not found["audio"].any():
        logging.getLogger(__name__).warning(
            "the audio of all %d first clips of %s is digital silence, from which nothing can be "
            "learned: check the files with `python -m avjax.prepare DIR OUT --check`",
            len(found["audio"]),
            data["source"].name,
        )
    return found


def num_batches(data: dict, min_clips: int) -> int:
    """Returns how many batches `first_clips` reads.

    Args:
      data, min_clips: as of `first_clips`.
    """
    epoch = len(data["source"]) * data["clip_sampler"].num_clips // data["batch_size"]
    return max(1, min(epoch, -(-min_clips // data["batch_size"])))
