"""What a run's data sets consist of, so that a resumed run notices changed files."""

import concurrent.futures
import gzip
import json
import os
import zlib
from pathlib import Path

from avjax.data.record_arrays import NumberedRecords
from avjax.data.source import Source
from avjax.runtime import side_files
from avjax.runtime.atomic import append, write_atomic
from avjax.runtime.filenames import same_path
from avjax.runtime.regular_files import check_appendable, check_regular
from avjax.runtime.workdir import iter_leaves

FILENAME = "data.json.gz"  # In a run's folder, beside config.json.
_WRONG_CONTENT = (ValueError, KeyError, IndexError, TypeError, AttributeError)
NUM_THREADS = 32  # Sizes are asked side by side: on network storage each takes a millisecond.
CHUNK_SIZE = 500  # Files that a thread asks for at a time.


def compute(source: Source) -> dict:
    """Returns {"settings": of the preparation, or None,
    "records": [[path, start, end, label, size]], "columns": {name: hash}, if there are any}.

    `size` is that of the media file in bytes; None if it does not exist, or if the data are
    prepared: then the settings of the preparation count.  Numbered records are one row.

    Args:
      source: the data.
    """
    if isinstance(source.records, NumberedRecords):  # One row stands for all of them.
        row = [source.records.summary(), None, None, -1, None]
        return dict(settings=source.settings, records=[row], columns=source.columns)
    paths = [record["path"] for record in source.records]
    sizes: list[int | None] = [None] * len(paths)
    if source.settings is None and source.arrays is None:
        with concurrent.futures.ThreadPoolExecutor(NUM_THREADS) as pool:
            chunks = pool.map(
                _file_sizes, [paths[i : i + CHUNK_SIZE] for i in range(0, len(paths), CHUNK_SIZE)]
            )
            sizes = [size for part in chunks for size in part]
    records = [
        [path, record.get("start"), record.get("end"), record.get("label", -1), size]
        for path, record, size in zip(paths, source.records, sizes)
    ]
    columns = source.columns | ({"arrays": source.arrays.digest} if source.arrays else {})
    columns = {"columns": columns} if columns else {}
    return dict(settings=source.settings, records=records) | columns


def _file_sizes(paths):
    sizes = []
    for path in paths:
        try:
            sizes.append(os.stat(path).st_size)
        except (OSError, ValueError):  # Not there, or no path at all, such as a row of shards.
            sizes.append(None)
    return sizes


def read(workdir: str | os.PathLike) -> dict:
    """Returns {source as in the config, as JSON: fingerprint} of a run; {} if it has none yet.

    Args:
      workdir: folder of the run.

    Raises:
      side_files.Damaged: the file is damaged.
      ValueError: it is not a regular file.
    """
    path = Path(workdir) / FILENAME
    if not path.exists():
        return {}
    check_regular(path)
    try:
        sources = json.loads(gzip.decompress(path.read_bytes()))["sources"]
        if not all(map(_is_fingerprint, sources.values())):
            raise ValueError("not what `write` writes")
        return sources
    except (OSError, EOFError, zlib.error, RecursionError, *_WRONG_CONTENT) as error:
        raise side_files.Damaged(f"{path} is damaged: {type(error).__name__}") from error


def _is_fingerprint(value: dict) -> bool:
    """Whether a value has the form that `compute` returns."""
    records = value["records"]
    return "settings" in value and all(isinstance(r, list) and len(r) == 5 for r in records)


def write(workdir: str | os.PathLike, sources: dict, changes: list[str], step: int) -> None:
    """Saves the fingerprints; appends `changes`, accepted before `step`, to data_changes.txt.

    Args:
      workdir: folder of the run.
      sources: as `read` returns them; with the "key" of the config that names each.
      changes: lines of `describe_changes`.
      step: first step with the changed data.
    """
    text, path = json.dumps(dict(sources=sources)), Path(workdir) / FILENAME
    try:
        read(workdir)
    except side_files.Damaged:
        outcome = "the data are not compared with those that the run started with"
        side_files.keep(path, "it cannot be read", outcome)
    write_atomic(path, gzip.compress(text.encode(), 6, mtime=0))
    if changes:
        table = Path(workdir) / "data_changes.txt"
        check_appendable(table)
        append(table, "".join(f"step {step}: {change}\n" for change in changes))


def describe_changes(old: dict, new: dict, names: dict) -> list[str]:
    """Returns one line per source that is in both `old` and `new` and differs.

    A source whose files moved is found by its config key; its records are compared by their names
    below the folders that moved.

    Args:
      old, new: as `read` returns them.
      names: {source: its config key, for the message}.
    """
    lines = []
    for key in new:
        if (was := _find(old, key, names[key])) is None:
            continue
        then, now = old[was], json.loads(json.dumps(new[key]))
        moves = _moves(was, key)
        found = [f"moved from {a} to {b}" for a, b in moves if not same_path(a, b)]
        if then["settings"] != now["settings"]:
            found.append("prepared with other settings")
        if then.get("columns") != now.get("columns"):
            found.append("other values of its columns")
        before, after = then["records"], now["records"]
        if moves:
            real = [os.path.realpath(now) for _, now in moves]
            before = [[_move(r[0], [a for a, _ in moves], real), *r[1:]] for r in before]
            after = [[_move(r[0], [b for _, b in moves], real), *r[1:]] for r in after]
        found += _differences(*({tuple(r[:3]): r[3:] for r in x} for x in (before, after)))
        if not found and before != after:
            found.append("records in another order")
        if found:
            lines.append(f"{names[key]}: {', '.join(found)}")
    return lines


def _find(old: dict, spec: str, name: str) -> str | None:
    """Returns the spec that a source had before: the same, or one with other paths, or None."""
    if spec in old:
        return spec
    alike = [was for was in old if _moves(was, spec)]
    same = [was for was in alike if all(same_path(a, b) for a, b in _moves(was, spec))]
    training = name.startswith("config.data.")  # Evaluations may change.
    named = [was for was in alike if training and old[was].get("key") == name]
    return next(iter(same + named), None)


def _moves(was: str, spec: str) -> list[tuple[str, str]]:
    """Returns [(path before, path now)] of a spec; [] if it differs in anything but paths."""
    before, now = (dict(iter_leaves(json.loads(text))) for text in (was, spec))
    moves = []
    for key in before | now:
        a, b = before.get(key), now.get(key)
        if a == b:
            continue
        if not isinstance(a, str) or not isinstance(b, str) or os.sep not in a + b:
            return []
        moves.append((a, b))
    return moves


def _move(path: str, folders: list[str], targets: list[str]) -> str:
    """Returns the name of a file after its folder, or the list beside it, became a target."""
    path = os.path.abspath(path)
    for before, now in zip(map(os.path.abspath, folders), targets):
        if os.path.basename(before) == os.path.basename(now) and not path.startswith(before):
            before, now = os.path.dirname(before), os.path.dirname(now)
        if path.startswith(os.path.join(before, "")):
            return os.path.join(now, path[len(os.path.join(before, "")) :])
    return path


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
