"""The largest global batch that fits, for each source of negatives and number of chunks."""

from collections.abc import Callable
from typing import NamedTuple

from avjax.planning.memory import largest_fitting

CHUNKS = 1, 2, 4, 8, 16, 32
MOST = 2**24  # Clips; larger batches are not looked for.


class Needs(NamedTuple):
    """Bytes per device of a run, as functions of the batch size B.

    Attributes:
      fixed: parameters, optimizer, gradients, program and state without a memory of negatives.
      per_clip: of the batch itself, times clips per device.
      nets: of what the nets keep for the backward pass, times clips of a chunk per device.
      devices: number of devices.
    """

    fixed: float
    per_clip: float
    nets: float
    devices: int


class SourceNeeds(NamedTuple):
    """Bytes per device of a source of negatives.

    Attributes:
      memory: of its bank or queue.
      loss: B -> temporaries of the loss.
      most: the largest B that it allows; 0 for any.
    """

    memory: float
    loss: Callable[[int], float]
    most: int = 0


class Row(NamedTuple):
    """One line of the table.

    Attributes:
      source: name of the source of negatives, "" for a method without.
      chunks: config.method.chunks.
      batch: largest global batch that fits; 0 if none does.
      limit: what ends it: "memory", "records", "queue" or "search".
    """

    source: str
    chunks: int
    batch: int
    limit: str


def peak(needs: Needs, source: SourceNeeds, batch: int, chunks: int) -> float:
    """Returns the estimated bytes of a device.

    The nets' part and the loss's part are not in memory at the same time, except for what a single
    chunk keeps: the larger of both counts.  With chunks the batch is there twice, in the order of
    the chunks too.

    Args:
      needs: of the nets.
      source: of negatives.
      batch: B.
      chunks: config.method.chunks.
    """
    each = batch / needs.devices
    clips = needs.per_clip * each * (1 if chunks == 1 else 2)
    nets, loss = needs.nets * each / chunks, source.loss(batch)
    both = nets + loss if chunks == 1 else max(nets, loss)
    return needs.fixed + source.memory + clips + both


def table(
    needs: Needs,
    sources: dict[str, SourceNeeds],
    capacity: float,
    records: int,
    has_chunks: bool,
) -> list[Row]:
    """Returns the largest batch for each source of negatives and number of chunks.

    Args:
      needs: of the nets.
      sources: {name: SourceNeeds}.
      capacity: bytes of a device.
      records: clips of an epoch without repetitions: the upper bound of a batch.
      has_chunks: whether the method can run in chunks.
    """
    rows = []
    for name, source in sources.items():
        for chunks in CHUNKS if has_chunks else CHUNKS[:1]:
            bounds = {"records": records, "search": MOST}
            bounds |= {"queue": source.most} if source.most else {}
            limit = min(bounds, key=lambda key: bounds[key])
            step = needs.devices * chunks
            most = bounds[limit] // step * step
            need = lambda b, s=source, c=chunks: peak(needs, s, b, c)
            found = largest_fitting(need, capacity, step, most)
            rows.append(Row(name, chunks, found, limit if found == most else "memory"))
    return rows
