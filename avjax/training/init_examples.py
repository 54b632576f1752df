"""The clips that a run starts from: front ends measure their statistics on them."""

import itertools
import logging

import jax
import numpy as np

from avjax.data import pipeline


def clips(data: dict, least: int) -> dict[str, np.ndarray]:
    """This host's part of the first batches of training, joined: as few as hold `least` clips.

    No record comes twice, whatever `repeats` training has: not more than one pass over the
    records, in the order of repeats=1.  Warns where all of their sound is digital silence.

    Args:
      data: arguments of `pipeline.train`, without `shard`, `start` and `stop`.
    """
    epoch = len(data["source"]) * data["clip_sampler"].num_clips // data["batch_size"]
    count = max(1, min(epoch, -(-least // data["batch_size"])))
    shard = jax.process_index(), jax.process_count()
    once = data | {"repeats": 1}
    batches = pipeline.train_batches(**once, shard=shard, start=0, stop=count)
    parts = list(itertools.islice(batches, count))
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    used = data.get("needs_audio", True)
    if used and "audio" in found and not found["audio"].any():
        logging.getLogger(__name__).warning(
            "the sound of all %d first clips of %s is digital silence, from which nothing can be "
            "learned: check the files with `python -m avjax.prepare DIR OUT --check`",
            len(found["audio"]),
            data["source"].name,
        )
    return found
