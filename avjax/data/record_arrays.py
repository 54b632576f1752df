"""Vectors of records that were computed once, such as features: batches of them without decoding.

A batch of B rows is one indexing of an array, not B calls, so that B may be the number of records.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

# Bytes that the arrays may take on a device; see `RecordArrays.device_bytes`.
DEVICE_BYTES = 2**32


class RecordArrays(NamedTuple):
    """Vectors of M clips of N records, in memory or memory-mapped.

    Attributes:
      values: {modality: float [R, D]}; R and D may differ by modality.
      rows: {modality: int32 [M]}, the row in `values` of each clip.
      first: int64 [N], the first clip of each record; those of a record are consecutive.
      count: int32 [N], clips of each record, 1 or more.
      digest: a hash of what the arrays hold.
      device_bytes: arrays of up to this many bytes are copied to every device in training, and of
        up to this many per device are divided among the devices.  Above, hosts read each batch.
    """

    values: dict[str, np.ndarray]
    rows: dict[str, np.ndarray]
    first: np.ndarray
    count: np.ndarray
    digest: str
    device_bytes: int = DEVICE_BYTES


@dataclasses.dataclass(frozen=True)
class NumberedRecords:
    """Records that only have a number and a label, as many as one likes: none is kept in memory.

    Attributes:
      name: of the records; the path of record 7 is "<name>/0000007".
      label: int [N].
    """

    name: str
    label: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return tuple(self[j] for j in range(*i.indices(len(self))))
        return dict(path=f"{self.name}/{i:07d}", label=int(self.label[i]))

    def summary(self) -> str:
        """Returns one text that stands for all records."""
        return f"{self.name}, {len(self):,} records"

    def __iter__(self) -> Iterator[dict]:
        return (self[i] for i in range(len(self)))


def one_clip_each(values: dict[str, np.ndarray], digest: str, **more) -> RecordArrays:
    """Returns the arrays of records with one clip each, row i of record i.

    Args:
      values: {modality: float [N, D]}.
      digest: a hash of what they hold.
      more: other attributes.
    """
    rows = np.arange(len(next(iter(values.values()))), dtype=np.int32)
    counts = np.ones(len(rows), np.int32)
    return RecordArrays(values, dict.fromkeys(values, rows), rows.astype(np.int64), counts, digest,
                        **more)  # fmt: skip


def num_bytes(arrays: RecordArrays) -> int:
    """Returns the bytes of all values."""
    return sum(value.nbytes for value in arrays.values.values())


def sample_clips(arrays: RecordArrays, index: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns a random clip of each record: int64 [B], of `range(M)`.

    Args:
      arrays: the vectors.
      index: int [B], records.
      rng: B numbers are drawn, for any number of clips.
    """
    count = arrays.count[index]
    return arrays.first[index] + (rng.random(len(index)) * count).astype(np.int64)


def batch_of(
    arrays: RecordArrays, clip: np.ndarray, index: np.ndarray, label: np.ndarray, rows_only: bool
) -> dict[str, np.ndarray]:
    """Returns a batch of clips, as `pipeline.train_batches` yields it.

    Args:
      arrays: the vectors.
      clip: int [B], of `range(M)`.
      index: int [B], their records.
      label: int [N], of the records.
      rows_only: rows int32 [B] in place of vectors, for arrays that are on the devices.
    """
    batch = {}
    for name, rows in arrays.rows.items():
        batch[name] = rows[clip]
        if not rows_only:
            batch[name] = np.asarray(arrays.values[name][batch[name]], np.float32)
    yes = np.ones(len(index), bool)
    return batch | {
        "index": index.astype(np.int32), "label": label[index].astype(np.int32),
        "has_audio": yes, "mask": yes,
    }  # fmt: skip
