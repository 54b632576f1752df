"""The order of the records in an epoch, and replacements of unreadable ones."""

import functools

import numpy as np

MAX_REPLACEMENTS = 20  # Per slot, before the run stops.


def replacement_offset(
    rng: np.random.Generator, slot: int, attempt: int, batch_size: int, size: int
) -> int:
    """How far after a batch the replacement of an unreadable record lies, in its epoch's order.

    Slots use places of their own, so that a batch does not hold a place of the order, of
    `size`, twice; if these are all unreadable or there are none, one outside the batch, and at
    last any.

    Args:
      rng: the generator of the example.
      slot: of the example in the global batch of records.
      attempt: which replacement, from 1.
      batch_size: records of the global batch.
      size: places of the order.
    """
    outside = size - batch_size
    rounds = outside // batch_size
    if rounds and attempt < MAX_REPLACEMENTS // 2:
        return slot + batch_size * int(rng.integers(rounds))
    return int(rng.integers(size if attempt >= MAX_REPLACEMENTS else outside or size))


@functools.lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, size: int, repeats: int) -> np.ndarray:
    """The rows of the records in the order of an epoch: int32 [repeats * size], read-only.

    The fifth number separates the seed of an order from those of examples.

    Args:
      seed: of the run.
      epoch: from 0.
      size: number of records.
      repeats: how often an epoch has each record.
    """
    order = np.tile(np.arange(size, dtype=np.int32), repeats)
    np.random.default_rng([seed, epoch, 0, 0, 1]).shuffle(order)
    order.flags.writeable = False
    return order
