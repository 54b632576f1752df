"""What a data set is to avjax: a fixed list of records, each one file and what is known of it."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Source:
    """Records in a fixed order; row `i` of a source is the same in every run.

    A record has `path` (an absolute path), `label` (a row of `classes`, or -1), and
    may have `start` and `end` (seconds; the part of the file to use) and `group`
    (a name; records of one group are not independent, e.g. cut from one film).
    """

    name: str
    records: tuple[dict, ...]
    classes: tuple[str, ...] = ()

    def __len__(self):
        return len(self.records)

    def __getitem__(self, i):
        return self.records[i]
