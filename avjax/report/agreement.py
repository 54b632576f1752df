"""Audio-visual agreement: pairs of records on a plane, and the clips with the lowest agreement.

Reads the arrays of each suite of a run (see avjax.evals.suite), and writes the agreement of
every clip with both modalities to agreement.csv in the same folder.
"""

import os
from html import escape
from pathlib import Path

import numpy as np

from avjax.evals import metrics
from avjax.report import retrieval_gallery, similarity_plane
from avjax.report.html import collapsible, header_row, note, table_row
from avjax.runtime import csv_file, metric_records
from avjax.runtime.atomic import atomic_replace
from avjax.runtime.filenames import OPEN_ARGS
from avjax.runtime.regular_files import check_regular
from avjax.runtime.side_files import NPZ_ERRORS

NUM_SHOWN, NUM_LISTED = 16, 100  # Clips with the lowest agreement: with thumbnails, and by name.


def section(folder: Path) -> str:
    """Returns the agreement of each suite of a run as HTML; writes `folder`/agreement.csv.

    Args:
      folder: with the arrays of the suites, <suite>.npz.
    """
    files = sorted(folder.glob("*.npz")) if folder.is_dir() else []
    sections, table = [], []
    for path in files:
        try:
            check_regular(path)
            with np.load(path, allow_pickle=False) as file:
                arrays = retrieval_gallery.with_names(
                    metric_records.with_all_modalities(dict(file))
                )
        except NPZ_ERRORS as error:
            sections.append(note(f"{path.name} cannot be read: {error}"))
            continue
        if reason := missing_reason(arrays):
            sections.append(note(f"No agreement for {path.stem}: {reason}."))
            continue
        clips = note("Video and audio have embeddings of different widths: no agreement of clips.")
        video, audio = (arrays[f"test/{name}/embedding"] for name in ("video", "audio"))
        if video.shape == audio.shape:
            score = metrics.margin_scores(video, audio)
            found = ranked_clips(arrays, score)
            table += [[path.stem, *line] for _, line in found]
            clips = lowest_agreement(arrays, score, found)
        sections.append(f"<h3>{escape(path.stem)}</h3>{similarity_plane.section(arrays)}{clips}")
    if table:
        write_csv(folder / "agreement.csv", table)
    return "".join(sections) or note("No agreement: the run has saved no evaluation arrays yet.")


def missing_reason(arrays: dict) -> str:
    """Returns why a suite has no agreement; "" if it has."""
    missing = [m for m in ("video", "audio") if f"test/{m}/embedding" not in arrays]
    if missing:
        return f"it has no embeddings of {' and '.join(missing)}"
    few = len(arrays["test/index"]) < 3
    return "it has fewer than three records with both modalities" if few else ""


def ranked_clips(arrays: dict, score: np.ndarray) -> list[tuple[int, list]]:
    """Sorts the clips of a suite by agreement, lowest first.

    Args:
      arrays: of the suite, of N records.
      score: agreement of each record, [N].

    Returns:
      [(i, [row, path, class, agreement, swapped])].
    """
    index, label = arrays["test/index"], arrays["test/label"]
    path, swapped = arrays.get("test/path"), arrays.get("test/swapped")
    return [
        (
            i,
            [
                int(index[i]),
                "" if path is None else os.fsdecode(path[i]),
                retrieval_gallery.class_name(label[i], arrays),
                f"{score[i]:.3f}",
                "" if swapped is None else int(swapped[i]),
            ],
        )
        for i in np.argsort(score, kind="stable")
    ]


def write_csv(path: Path, table: list[list]) -> None:
    """Writes agreement.csv.

    Args:
      path: the file.
      table: of cells.
    """
    names = ("suite", "row", "path", "class", "agreement", "swapped")
    with atomic_replace(path) as part, open(part, "w", **OPEN_ARGS) as file:
        csv_file.write_rows(file, [names, *table])


def lowest_agreement(arrays: dict, score: np.ndarray, found: list[tuple[int, list]]) -> str:
    """Returns the clips with the lowest agreement as HTML: some thumbnails, more names.

    Args:
      arrays: of the suite, of N records.
      score: agreement of each record, [N].
      found: as of `ranked_clips`.
    """
    swapped = arrays.get("test/swapped")
    note = (
        "These clips are candidates, not errors: some clip always has the lowest agreement. A "
        "clip's agreement is the cosine of its own video and audio, minus the mean of those with "
        "the nearest 5 % of other clips; below 0 means that some other clips fit better, which is "
        f"normal among similar clips (here {np.mean(score < 0):.0%} of them; mean "
        f"{score.mean():.2f}). Dubbed or unrelated audio is at this end of the list. Lowest "
        "first, of the clips with thumbnails; agreement.csv has all."
    )
    if swapped is not None:
        note += f" Known to be swapped, and marked ✓: {int(swapped.sum())} of {len(swapped)} clips."
    tiles = ""
    if "gallery/sound" in arrays:
        shown, thumbnails = retrieval_gallery.thumbnail_positions(arrays)
        for i in np.argsort(score[shown], kind="stable")[:NUM_SHOWN]:
            at = int(shown[i])
            kind, mark = "", ""
            if swapped is not None:
                kind, mark = ("right", " ✓") if swapped[at] else ("wrong", " ✗")
            tiles += retrieval_gallery.tile(
                arrays, at, int(thumbnails[i]), None, kind, f"{score[at]:.2f}{mark}"
            )
    names = ["path", "agreement", "class", "row"] + ["swapped"] * (swapped is not None)
    cells = []
    for at, (number, path, kind, agreed, dubbed) in found[:NUM_LISTED]:
        rest = [agreed, kind, number] + [dubbed] * (swapped is not None)
        name = arrays["test/name"][at] if "test/name" in arrays else path
        cells.append(table_row(name, [escape(str(c)) for c in rest]))
    return (
        f"<h4>Clips with the lowest agreement</h4><p class=note>{note}</p>"
        f"<div class=line>{tiles}</div>"
        + collapsible(
            f"The lowest {len(cells)} by name",
            f"<div class=wide><table>{header_row(names)}{''.join(cells)}</table></div>",
        )
    )
