"""What a data set is to avjax: a fixed list of records, each one file and what is known of it."""

import dataclasses
from collections.abc import Callable


class NoRecords(ValueError):
    """A split of a data set that nothing belongs to."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Records in a fixed order; row `i` of a source is the same in every run.

    A record has `path` (an absolute path), `label` (a row of `classes`, or -1), and
    may have `start` and `end` (seconds; the part of the file to use) and `group`
    (a name; records of one group are not independent, e.g. cut from one film).

    read: (row, view, rngs) -> ([clip] * view.count, has_audio), where a source has its clips
    otherwise than by decoding `path`; a clip is {"video", "audio"}, as the view says.
    listed: how many records the official list has, where there is one; files may be missing.
    quarantined: how many of them are there and are left out, since a quarantine names them.
    notes: lines on the data set as a whole, the same in each of its splits: files passed over,
    groups that are divided between splits, copies.  A command prints them once, see `notes_of`.
    settings: what the data were prepared with, where they are read from prepared files.
    """

    name: str
    records: tuple[dict, ...]
    classes: tuple[str, ...] = ()
    read: Callable | None = None
    listed: int | None = None
    quarantined: int = 0
    notes: tuple[str, ...] = ()
    settings: dict | None = None

    def __len__(self):
        return len(self.records)

    def __getitem__(self, i):
        return self.records[i]


def found(source):
    """How much of its official list a source holds, in words: "9,530 of 9,537 found"."""
    if source.listed is None:
        return f"{len(source):,} found"
    there = f"{len(source) + source.quarantined:,} of {source.listed:,} found"
    return there + (f", {source.quarantined:,} of them in quarantine" * bool(source.quarantined))


def notes_of(sources) -> list[str]:
    """The notes of several sources, each line once, in their order."""
    return list(dict.fromkeys(note for source in sources for note in source.notes))
