"""What a data set is to avjax: a fixed list of records, each one file and what is known of it."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Source:
    """Records in a fixed order; row `i` of a source is the same in every run.

    A record has `path` (an absolute path), `label` (a row of `classes`, or -1), and
    may have `start` and `end` (seconds; the part of the file to use) and `group`
    (a name; records of one group are not independent, e.g. cut from one film).

    read: (row, view, rngs) -> ([clip] * view.count, has_audio), where a source has its clips
    otherwise than by decoding `path`; a clip is {"video", "audio"}, as the view says.
    """

    name: str
    records: tuple[dict, ...]
    classes: tuple[str, ...] = ()
    read: Callable | None = None

    def __len__(self):
        return len(self.records)

    def __getitem__(self, i):
        return self.records[i]
