"""Agreement of picture and sound: pairs of records on a plane, and the clips of lowest agreement.

Reads the arrays of each suite of a run (see avjax.evals.suite), and writes the agreement of
every clip that has both into agreement.csv beside them.
"""

import csv
import os
import zipfile
from html import escape
from pathlib import Path

import numpy as np

from avjax.evals import metrics
from avjax.report import retrieval_gallery, similarity_plane
from avjax.report.html import folded, heading, none, row
from avjax.runtime import metric_records
from avjax.runtime.atomic import replacing

SHOWN, LISTED = 16, 100  # Clips of lowest agreement: with pictures, and by name.


def part(folder: Path) -> str:
    """The agreement of each suite of a run as HTML; writes agreement.csv into `folder`."""
    files = sorted(folder.glob("*.npz")) if folder.is_dir() else []
    sections, table = [], []
    for path in files:
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = retrieval_gallery.with_names(metric_records.paired(dict(file)))
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            sections.append(none(f"{path.name} cannot be read: {error}"))
            continue
        if why := unfit(arrays):
            sections.append(none(f"No agreement for {path.stem}: {why}."))
            continue
        clips = none("Video and audio have embeddings of different widths: no agreement of clips.")
        video, audio = (arrays[f"test/{name}/embedding"] for name in ("video", "audio"))
        if video.shape == audio.shape:
            score = metrics.margin_scores(video, audio)
            found = lines(arrays, score)
            table += [[path.stem, *line] for _, line in found]
            clips = least(arrays, score, found)
        sections.append(f"<h3>{escape(path.stem)}</h3>{similarity_plane.part(arrays)}{clips}")
    if table:
        save(folder / "agreement.csv", table)
    return "".join(sections) or none("No agreement: the run has saved no evaluation arrays yet.")


def unfit(arrays: dict) -> str:
    """Why a suite has no plane; "" if it has."""
    missing = [m for m in ("video", "audio") if f"test/{m}/embedding" not in arrays]
    if missing:
        return f"it has no embeddings of {' and '.join(missing)}"
    few = len(arrays["test/index"]) < 3
    return "it has fewer than three records with both" if few else ""


def lines(arrays: dict, score) -> list[tuple[int, list]]:
    """(i, [row, path, class, agreement, swapped]) of each clip i of N, the lowest first."""
    index, label = arrays["test/index"], arrays["test/label"]
    path, swapped = arrays.get("test/path"), arrays.get("test/swapped")
    return [
        (
            i,
            [
                int(index[i]),
                "" if path is None else os.fsdecode(path[i]),
                retrieval_gallery.named(label[i], arrays),
                f"{score[i]:.3f}",
                "" if swapped is None else int(swapped[i]),
            ],
        )
        for i in np.argsort(score, kind="stable")
    ]


def save(path: Path, table: list[list]) -> None:
    names = ("suite", "row", "path", "class", "agreement", "swapped")
    text = dict(newline="", encoding="utf-8", errors="surrogateescape")
    with replacing(path) as part, open(part, "w", **text) as file:
        csv.writer(file).writerows([names, *table])


def least(arrays: dict, score, found) -> str:
    """The clips of lowest agreement: pictures of some, names of more."""
    swapped = arrays.get("test/swapped")
    note = (
        "A list of clips to look at, not of faults: some clip always agrees least. A clip's "
        "agreement is the cosine of its own picture and sound, less the mean of those with the "
        "nearest 5 % of other clips; below 0 means that some other clips fit better, which is "
        f"normal where clips resemble each other (here {np.mean(score < 0):.0%} of them; mean "
        f"{score.mean():.2f}). Sound that was dubbed or does not belong to the picture is found "
        "at this end of the list. Lowest first, of those with pictures; agreement.csv has all."
    )
    if swapped is not None:
        note += f" Known to be swapped, and marked ✓: {int(swapped.sum())} of {len(swapped)} clips."
    tiles = ""
    if "gallery/row" in arrays:
        shown, pictures = retrieval_gallery.places(arrays)
        for i in np.argsort(score[shown], kind="stable")[:SHOWN]:
            at = shown[i]
            kind, mark = "", ""
            if swapped is not None:
                kind, mark = ("right", " ✓") if swapped[at] else ("wrong", " ✗")
            tiles += retrieval_gallery.tile(
                arrays, at, pictures[i], None, kind, f"{score[at]:.2f}{mark}"
            )
    names = ["path", "agreement", "class", "row"] + ["swapped"] * (swapped is not None)
    cells = []
    for at, (number, path, kind, agreed, dubbed) in found[:LISTED]:
        rest = [agreed, kind, number] + [dubbed] * (swapped is not None)
        name = arrays["test/name"][at] if "test/name" in arrays else path
        cells.append(row(name, [escape(str(c)) for c in rest]))
    return (
        f"<h4>Clips with the lowest agreement</h4><p class=note>{note}</p>"
        f"<div class=line>{tiles}</div>"
        + folded(
            f"The lowest {len(cells)} by name",
            f"<div class=wide><table>{heading(names)}{''.join(cells)}</table></div>",
        )
    )
