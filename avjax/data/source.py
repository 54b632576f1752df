"""A data set: a fixed list of records, each one file and what is known of it."""

import dataclasses
from collections.abc import Callable, Iterable

from avjax.data.record_arrays import NumberedRecords, RecordArrays


class NoRecords(ValueError):
    """A split of a data set without records."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Records in a fixed order; row `i` of a source is the same in every run.

    A record has `path` (absolute) and `label` (an index of `classes`, or -1), and may have
    `start` and `end` (seconds; the part of the file to use) and `group` (a name; records of
    one group are not independent, e.g. cut from one film) and `columns` ({name: array}, which its
    clips get as they are; all records have the same names and shapes).

    Attributes:
      name: of the data set and split, for messages.
      records: a dictionary per record.
      classes: names of the classes.
      read: (row, sampler, rngs) -> ([clip] * num_clips, has_audio), for sources that do not
        decode `path`; a clip is {"video", "audio"}, as the ClipSampler says.
      num_listed: number of records in the official list, if there is one; files may be
        missing.
      num_quarantined: number of records that exist and are left out by a quarantine.
      notes: remarks on the whole data set, the same for each of its splits: ignored files,
        groups divided between splits, duplicates.  Printed once, see `unique_notes`.
      settings: how the data were prepared, for prepared data.
      columns: {name: hash of the values} of the columns of the records.
      arrays: vectors of the records, for sources that have these and nothing to decode.
      prepare: called by a run before it reads the first record; `read` raises an error before.  For
        sources whose clips are computed by an earlier run.  None for nothing to do.
    """

    name: str
    records: tuple[dict, ...] | NumberedRecords
    classes: tuple[str, ...] = ()
    read: Callable | None = None
    num_listed: int | None = None
    num_quarantined: int = 0
    notes: tuple[str, ...] = ()
    settings: dict | None = None
    columns: dict[str, str] = dataclasses.field(default_factory=dict)
    arrays: RecordArrays | None = None
    prepare: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, i: int) -> dict:
        return self.records[i]


def coverage(source: Source) -> str:
    """Returns how much of its official list a source holds: "9,530 of 9,537 found"."""
    if source.num_listed is None:
        return f"{len(source):,} found"
    num_found = f"{len(source) + source.num_quarantined:,} of {source.num_listed:,} found"
    return num_found + (
        f", {source.num_quarantined:,} of them in quarantine" * bool(source.num_quarantined)
    )


def unique_notes(sources: Iterable[Source]) -> list[str]:
    """Returns the notes of several sources, without repetitions, in order."""
    return list(dict.fromkeys(note for source in sources for note in source.notes))
