"""A source whose records have vectors beside their clips, such as those of a teacher."""

import dataclasses

import numpy as np

from avjax.data import vectors as vectors_
from avjax.data.source import Source

MISSING = ("mask", "refuse")


def make(
    source: Source,
    name: str,
    path: str | None,
    column: str | None = None,
    match: str = "path",
    missing: str = "mask",
) -> Source:
    """Returns `source` with a column: each of its clips has the vector of its record.

    Rows belong to records by name.  A record without a vector has zeros, which the teacher
    `avjax.nets.teachers.column` takes for not valid; a note names such records.  All vectors are
    in memory: 4 bytes x records x D.

    Args:
      source: the records.
      name: key of the batch that gets the vectors, float32 [B, D], e.g. "teacher_audio".
      path: the file or folder of vectors, see `avjax.data.vectors.read`.
      column: the array of an .npz file; None for its only one.
      match: "path" or "stem", see `avjax.data.vectors.match`.
      missing: "mask" as above; "refuse" is an error if a record has no vector.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: an argument is wrong, a name fits several records, or no record has a vector.
    """
    if missing not in MISSING:
        raise ValueError(f"missing={missing!r}: use {' or '.join(MISSING)}")
    if not path:
        raise ValueError(f"path={path!r}: name the file or folder of the vectors {name!r}")
    if name in source.columns:
        raise ValueError(f"name={name!r}: {source.name} has this column already: use another name")
    found = vectors_.read(path, column)
    rows = vectors_.match(found.names, [record["path"] for record in source.records], match)
    lacking = [record["path"] for record, row in zip(source.records, rows) if row < 0]
    _check(source, name, path, found, lacking, match, missing)
    zeros = np.zeros(found.values.shape[1], np.float32)
    records = tuple(
        {**r, "columns": {**r.get("columns", {}), name: found.values[row] if row >= 0 else zeros}}
        for r, row in zip(source.records, rows)
    )
    empty = [r["path"] for r, row in zip(source.records, rows)
             if row >= 0 and not found.values[row].any()]  # fmt: skip
    notes = _note(lacking, source, f"have no vector in {path}: {name} is masked")
    notes += _note(empty, source, f"have a vector of zeros in {path}: {name} is masked")
    columns = {**source.columns, name: found.digest}
    return dataclasses.replace(
        source, records=records, columns=columns, notes=(*source.notes, *notes)
    )


def _check(source, name, path, found, lacking, match, missing):
    """Raises ValueError if no record has a vector, or too few."""
    if len(lacking) == len(source):
        hint = '; match="stem" compares the names of files only' if match == "path" else ""
        raise ValueError(
            f"no record of {source.name} has a vector {name!r} in {path}: records are named like "
            f"{lacking[0]}, vectors like {found.names[0]}{hint}"
        )
    if lacking and missing == "refuse":
        raise ValueError(
            f"{_listed(lacking, source)} have no vector in {path}: compute them, or use "
            'missing="mask"'
        )


def _note(paths, source, text):
    return (f"{_listed(paths, source)} {text}",) if paths else ()


def _listed(paths, source):
    some = ", ".join(paths[:3]) + ", ..." * (len(paths) > 3)
    return f"{len(paths):,} of {len(source):,} records of {source.name} ({some})"
