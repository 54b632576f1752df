"""Gallery of a study: what the students of several arms retrieve for the same videos."""

import os
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from avjax.report.html import note
from avjax.report.retrieval_gallery import class_name, frame_uri, thumbnail_positions, with_names
from avjax.runtime.regular_files import check_regular
from avjax.runtime.side_files import NPZ_ERRORS

NOTE = (
    "Each block is a test video and, for each arm (its first seed), the test videos with the "
    "nearest features, of those with thumbnails: ✓ of its class, ✗ of another one. Queries are "
    "evenly spaced over the test videos, not chosen."
)


def make(
    suite: str, arms: Sequence[str], count: int = 8, top: int = 5, modality: str = "video"
) -> Callable[..., str]:
    """Returns a section of `avjax.report.comparison_page`.

    Args:
      suite: the evaluation that saved features and thumbnails, an `avjax.evals.suite`.
      arms: names of the arms.
      count: number of queries.
      top: videos per query and arm.
      modality: whose embeddings are compared.
    """

    def section(folder, rows, runs, results) -> str:
        names = {row["arm"].name: row["arm"].strategy for row in rows if row["arm"].name in arms}
        found = {}
        for run in runs:
            if run.arm.name in names and run.name in results and run.arm.name not in found:
                path = Path(folder) / "runs" / run.name / "evals" / f"{suite}.npz"
                arrays = _read(path)
                if arrays and {"gallery/frame", f"test/{modality}/embedding"} <= arrays.keys():
                    found[run.arm.name] = with_names(arrays)
        head = "<h2>Retrieval gallery</h2>"
        if not found:
            return head + note(f"No gallery: no run of {', '.join(arms)} saved thumbnails yet.")
        shown = {names[name]: _nearest(a, modality, top) for name, a in found.items()}
        first = next(iter(found.values()))
        return head + note(NOTE) + _blocks(first, shown, count)

    return section


def _read(path: Path) -> dict:
    """The arrays of a suite; {} if they cannot be read."""
    try:
        check_regular(path)
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, *NPZ_ERRORS):
        return {}


def _nearest(arrays: dict, modality: str, top: int) -> tuple[dict, dict[int, list[int]]]:
    """(arrays, {row of a query: rows of its nearest videos}) among those with thumbnails."""
    shown, _ = thumbnail_positions(arrays)
    x = arrays[f"test/{modality}/embedding"][shown].astype(np.float32)
    cosine = x @ x.T
    np.fill_diagonal(cosine, -np.inf)
    order = np.argsort(-cosine, axis=1, kind="stable")[:, : min(top, len(x) - 1)]
    rows = arrays["test/index"][shown]
    return arrays, {int(row): rows[near].tolist() for row, near in zip(rows, order)}


def _blocks(first: dict, shown: dict, count: int) -> str:
    """The queries that all arms have, with a line per arm."""
    common = set.intersection(*(set(near) for _, near in shown.values()))
    queries = sorted(common)
    picked = np.linspace(0, len(queries) - 1, min(count, len(queries))).round().astype(int)
    out = []
    for query in (queries[i] for i in picked):
        lines = [f"<div class=line>{_tile(first, query, 'query', 'query')}</div>"]
        for name, (arrays, near) in shown.items():
            tiles = "".join(_tile(arrays, row, *_kind(arrays, query, row)) for row in near[query])
            lines.append(f"<p class=note>{escape(name)}</p><div class=line>{tiles}</div>")
        out.append("".join(lines))
    return "".join(out)


def _kind(arrays: dict, query: int, row: int) -> tuple[str, str]:
    """(CSS class, mark) of a retrieved video."""
    one, other = (_label(arrays, each) for each in (query, row))
    return ("right", "✓") if one == other >= 0 else ("wrong", "✗")


def _label(arrays: dict, row: int) -> int:
    return int(arrays["test/label"][arrays["test/index"] == row][0])


def _tile(arrays: dict, row: int, kind: str, text: str) -> str:
    """A frame with its class and name."""
    at = int(np.flatnonzero(arrays["test/index"] == row)[0])
    thumbnail = int(np.flatnonzero(arrays["gallery/row"] == row)[0])
    label = class_name(int(arrays["test/label"][at]), arrays)
    name = os.path.basename(str(arrays["test/name"][at])) if "test/name" in arrays else ""
    image = f'<img class="main" alt="video" src="{frame_uri(arrays["gallery/frame"][thumbnail])}">'
    return (
        f'<figure class="tile {kind}"><div>{image}</div><figcaption><b>{text}</b> {escape(label)} '
        f"<small>{escape(name)}</small></figcaption></figure>"
    )
