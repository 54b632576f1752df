"""What a run's data sets consist of: a resumed run notices files that came, went or changed."""

import concurrent.futures
import gzip
import json
import os
from pathlib import Path

from avjax.runtime.atomic import write_atomic

NAME = "data.json.gz"  # In a run's folder, beside config.json.
THREADS = 32  # Sizes are asked side by side: on network storage each takes a millisecond.
PART = 500  # Files that a thread asks for at a time.


def of(source) -> dict:
    """{"settings": what made the data, or None, "records": [[path, start, end, label, size]]}.

    Sizes (bytes, None where there is no such file) are those of the media files.  Prepared data
    do not need these any more: there the settings of the preparation count.
    """
    paths = [record["path"] for record in source.records]
    sizes = [None] * len(paths)
    if source.settings is None:
        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            parts = pool.map(_sizes, [paths[i : i + PART] for i in range(0, len(paths), PART)])
            sizes = [size for part in parts for size in part]
    records = [
        [path, record.get("start"), record.get("end"), record.get("label", -1), size]
        for path, record, size in zip(paths, source.records, sizes)
    ]
    return dict(settings=source.settings, records=records)


def _sizes(paths):
    sizes = []
    for path in paths:
        try:
            sizes.append(os.stat(path).st_size)
        except (OSError, ValueError):  # Not there, or no path at all, such as a row of shards.
            sizes.append(None)
    return sizes


def read(workdir) -> dict:
    """{source as in the config, as JSON: fingerprint} of a run; {} where it has none yet."""
    path = Path(workdir) / NAME
    if not path.exists():
        return {}
    try:
        return json.loads(gzip.decompress(path.read_bytes()))["sources"]
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}): delete it to resume without a check of the data"
        ) from error


def write(workdir, sources: dict, changes: list[str], step: int) -> None:
    """Keeps the fingerprints, and adds `changes`, accepted before `step`, to data_changes.txt."""
    text = json.dumps(dict(sources=sources))
    write_atomic(Path(workdir) / NAME, gzip.compress(text.encode(), 6, mtime=0))
    if changes:
        with (Path(workdir) / "data_changes.txt").open("a", encoding="utf-8") as file:
            file.writelines(f"step {step}: {change}\n" for change in changes)


def changes(old: dict, new: dict, names: dict) -> list[str]:
    """A line for each source of `new` that is in `old` too, and differs.

    Args:
      old, new: as `read` returns them.
      names: {source: the config key to name it by}.
    """
    lines = []
    for key in (key for key in new if key in old):
        then, now = old[key], json.loads(json.dumps(new[key]))
        found = []
        if then["settings"] != now["settings"]:
            found.append("prepared with other settings")
        found += _differences(*({tuple(r[:3]): r[3:] for r in x["records"]} for x in (then, now)))
        if not found and then["records"] != now["records"]:
            found.append("records in another order")
        if found:
            lines.append(f"{names[key]}: {', '.join(found)}")
    return lines


def _differences(then: dict, now: dict) -> list[str]:
    """["3 records added (e.g. a.mp4)", ...] between {(path, start, end): [label, size]}."""
    both = [record for record in now if record in then]
    cases = {
        "added": [record for record in now if record not in then],
        "removed": [record for record in then if record not in now],
        "of another label": [record for record in both if then[record][0] != now[record][0]],
        "of another size": [record for record in both if then[record][1] != now[record][1]],
    }
    return [
        f"{len(found)} record{'s' * (len(found) > 1)} {what} (e.g. {found[0][0]})"
        for what, found in cases.items()
        if found
    ]
