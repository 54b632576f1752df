"""Where picture and sound agree: pairs of records on a plane, and clips whose own two do not fit.

Reads the arrays of each suite of a run (see avjax.evals.suite), and writes the agreement of
every clip into agreement.csv beside them.
"""

import csv
import os
import zipfile
from html import escape
from pathlib import Path

import numpy as np

from avjax import agreement
from avjax.atomic import replacing
from avjax.report import gallery, plane
from avjax.report.style import heading, none, row

SHOWN, LISTED = 16, 100  # Least agreeing clips: with pictures, and by name.


def part(folder: Path) -> str:
    """The agreement of each suite of a run as HTML; writes agreement.csv into `folder`."""
    files = sorted(folder.glob("*.npz")) if folder.is_dir() else []
    sections, table = [], []
    for path in files:
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            sections.append(none(f"{path.name} cannot be read: {error}"))
            continue
        if why := unfit(arrays):
            sections.append(none(f"No agreement for {path.stem}: {why}."))
            continue
        clips = none("The two modalities have spaces of their own: clips cannot be told by these.")
        video, audio = (arrays[f"test/{name}/embedding"] for name in ("video", "audio"))
        if video.shape == audio.shape:
            score = agreement.clips(video, audio)
            found = lines(arrays, score)
            table += [[path.stem, *line] for line in found]
            clips = least(arrays, score, found)
        sections.append(f"<h3>{escape(path.stem)}</h3>{plane.part(arrays)}{clips}")
    if table:
        save(folder / "agreement.csv", table)
    return "".join(sections) or none("No agreement: the run has saved no evaluation arrays yet.")


def unfit(arrays: dict) -> str:
    """Why a suite has no plane; "" if it has."""
    missing = [m for m in ("video", "audio") if f"test/{m}/embedding" not in arrays]
    if missing:
        return f"it has no embeddings of {' and '.join(missing)}"
    few = len(arrays["test/index"]) < 3
    return "it has less than three records" if few else ""


def lines(arrays: dict, score) -> list[list]:
    """[row, path, class, agreement, swapped] of each clip, the least agreeing first."""
    index, label = arrays["test/index"], arrays["test/label"]
    path, swapped = arrays.get("test/path"), arrays.get("test/swapped")
    return [
        [
            int(index[i]),
            "" if path is None else os.fsdecode(path[i]),
            gallery.named(label[i], arrays),
            f"{score[i]:.3f}",
            "" if swapped is None else int(swapped[i]),
        ]
        for i in np.argsort(score, kind="stable")
    ]


def save(path: Path, table: list[list]) -> None:
    names = ("suite", "row", "path", "class", "agreement", "swapped")
    text = dict(newline="", encoding="utf-8", errors="surrogateescape")
    with replacing(path) as part, open(part, "w", **text) as file:
        csv.writer(file).writerows([names, *table])


def least(arrays: dict, score, found) -> str:
    """The clips whose own picture and sound agree least: pictures of some, names of more."""
    swapped = arrays.get("test/swapped")
    note = (
        "Dubbed or irrelevant sound? A clip's agreement is how much higher the cosine of its own "
        "picture and sound is than those with the nearest twentieth of other clips' sounds and "
        f"pictures; {score.mean():.2f} on average, and {np.mean(score < 0):.0%} are below 0. The "
        "least first, of those with pictures; agreement.csv has all."
    )
    if swapped is not None:
        note += f" Truly swapped, and marked ✓: {int(swapped.sum())} of {len(swapped)} clips."
    tiles = ""
    if "gallery/row" in arrays:
        shown, pictures = gallery.places(arrays)
        for i in np.argsort(score[shown], kind="stable")[:SHOWN]:
            at = shown[i]
            kind, mark = "", ""
            if swapped is not None:
                kind, mark = ("right", " ✓") if swapped[at] else ("wrong", " ✗")
            tiles += gallery.tile(arrays, at, pictures[i], None, kind, f"{score[at]:.2f}{mark}")
    cells = [row(str(line[0]), [escape(str(cell)) for cell in line[1:]]) for line in found]
    head = heading(["row", "path", "class", "agreement", "swapped"])
    return (
        f"<h4>clips that agree least</h4><p class=note>{note}</p><div class=line>{tiles}</div>"
        f"<details><summary>The least {min(LISTED, len(found))} by name</summary>"
        f"<div class=wide><table>{head}{''.join(cells[:LISTED])}</table></div></details>"
    )
