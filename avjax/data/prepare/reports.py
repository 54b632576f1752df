"""Tables of the files of a prepared data set and their findings."""

import contextlib
import os
from collections import Counter
from collections.abc import Sequence

from avjax.data.prepare import file_checks
from avjax.runtime import csv_file
from avjax.runtime.atomic import atomic_replace
from avjax.runtime.filenames import OPEN_ARGS


def write_csv_reports(out: str, rows: Sequence[dict], require: Sequence[str]) -> None:
    """Writes doctor.csv, all files and their findings, and quarantine.csv, the unusable ones.

    Args:
      out: the folder to write.
      rows: as of `load_rows`.
      require: the modalities that a file must have.
    """
    with _open_csv(out, "doctor.csv") as file:
        table: list[list] = [
            ["path", "split", "usable", "findings", "reason", "seconds", "fps", "width", "height",
             "sample_rate", "sha256"]
        ]  # fmt: skip
        for row in rows:
            info = row.get("info", {})
            is_usable = file_checks.is_usable(row["findings"], require)
            table.append(
                [row["path"], row["split"], "yes" if is_usable else "no", ";".join(row["findings"]),
                 row["reason"], f"{duration_seconds(info):.3f}", info.get("fps"), info.get("width"),
                 info.get("height"), info.get("sample_rate"), row.get("sha256")]
            )  # fmt: skip
        csv_file.write_rows(file, table)
    with _open_csv(out, "quarantine.csv") as file:
        table: list[list] = [
            [row["path"], row["reason"] or ", ".join(row["findings"])]
            for row in rows
            if not file_checks.is_usable(row["findings"], require)
        ]
        csv_file.write_rows(file, [["path", "reason"], *table])


@contextlib.contextmanager
def _open_csv(out, name):
    with (
        atomic_replace(os.path.join(out, name)) as part,
        open(part, "w", **OPEN_ARGS) as file,
    ):
        yield file


def duration_seconds(info: dict) -> float:
    """Returns the length of a file, from its Info as a dictionary."""
    ends = [info[k] for k in ("video_end", "audio_end") if info.get(k) is not None]
    starts = [info[k] for k in ("video_start", "audio_start") if info.get(k) is not None]
    return max(ends) - min(starts) if ends and starts else 0.0


def count_findings(rows: Sequence[dict]) -> dict[str, int]:
    """Returns {finding: number of files}, in the order of file_checks.FINDINGS."""
    counts = Counter(name for row in rows for name in row["findings"])
    return {name: counts[name] for name in file_checks.FINDINGS if counts[name]}
