"""Retrieval gallery: queries with their nearest matches as HTML.

Reads the arrays of a suite (see avjax.evals.suite): embeddings of all N test records with all
modalities, and thumbnails of M of them.  Matches are searched among those M.
"""

import base64
import os
from html import escape
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from avjax.report.html import note
from avjax.runtime import metric_records
from avjax.runtime.regular_files import check_regular
from avjax.runtime.side_files import NPZ_ERRORS

MARKS = {"right": "✓", "same": "≈", "wrong": "✗"}
TIE = 1e-6  # Cosines nearer than this are equal, as in avjax.evals.retrieval.


class Query(NamedTuple):
    """One query and its matches; positions are among the M records with thumbnails."""

    at: int
    matches: tuple[int, ...]  # nearest first; the correct one last if it is not among them
    ranks: tuple[float, ...]  # of each match, among M
    cosine: tuple[float, ...]
    rank: float  # of the correct one among all N; ties count half


def section(folder: Path) -> str:
    """Returns the galleries of a run, one per suite, as HTML.

    Args:
      folder: with the arrays of the suites, <suite>.npz.
    """
    files = sorted(folder.glob("*.npz")) if folder.is_dir() else []
    sections = []
    for path in files:
        try:
            check_regular(path)
            with np.load(path, allow_pickle=False) as file:
                html = suite_gallery(dict(file))
        except NPZ_ERRORS as error:
            html = note(f"{path.name} cannot be read: {error}")
        sections.append(f"<h3>{escape(path.stem)}</h3>{html}")
    missing = "No gallery: the run has saved no evaluation arrays (evals/*.npz) yet."
    return "".join(sections) or note(missing)


def suite_gallery(arrays: dict, count: int = 12, top: int = 5) -> str:
    """Returns the gallery of one suite as HTML, or a note why there is none.

    Args:
      arrays: of the suite.
      count: queries per direction.
      top: matches per query.
    """
    arrays = with_names(metric_records.with_all_modalities(arrays))
    names = [n.split("/")[1] for n in arrays if n.startswith("test/") and n.endswith("/embedding")]
    width = {name: arrays[f"test/{name}/embedding"].shape[1] for name in names}
    pairs = [(q, k) for q in names for k in names if q != k and width[q] == width[k]]
    if not {"gallery/row", "gallery/sound"} <= arrays.keys() or not pairs:
        return note("No gallery: the evaluation saved no thumbnails or only one modality.")
    shown, thumbnails = thumbnail_positions(arrays)
    if len(shown) < 2:
        return note("No gallery: fewer than two test records have thumbnails and embeddings.")
    total = len(arrays["test/index"])
    parts = []
    for q, k in pairs:
        found = nearest_matches(
            arrays[f"test/{q}/embedding"], arrays[f"test/{k}/embedding"], shown, top
        )
        picked = pick_queries([f.matches[0] == f.at for f in found], count)
        lines = "".join(
            query_row(found[i], arrays, shown, thumbnails, q, k, total, top) for i in picked
        )
        right = sum(f.matches[0] == f.at for f in found)
        parts.append(
            f"<h4>{escape(q)} → {escape(k)}</h4><p class=note>Of these {len(picked)} queries, "
            f"half have a correct nearest match and half a wrong one, if there are enough; of all "
            f"{len(found)}, {right} are correct. Matches are searched among the {len(found)} "
            f"records with thumbnails, of {total} with both modalities. Under a match: its rank, "
            f"its cosine, and <b>✓</b> if it is the query's own record, <b>≈</b> if it is another "
            f"one of the same class, <b>✗</b> if neither.</p>{lines}"
        )
    return "".join(parts)


def thumbnail_positions(arrays: dict) -> tuple[np.ndarray, np.ndarray]:
    """Returns where the records with thumbnails are.

    Args:
      arrays: of the suite.

    Returns:
      (positions in the test set, positions in the gallery), int [M] each.
    """
    rows = arrays["gallery/row"]
    _, shown, thumbnails = np.intersect1d(arrays["test/index"], rows, return_indices=True)
    return shown, thumbnails


def nearest_matches(query: np.ndarray, key: np.ndarray, shown: np.ndarray, top: int) -> list[Query]:
    """Finds the nearest keys of some queries.

    Args:
      query, key: float [N, D] of unit length.
      shown: int [M], rows of the queries, and of the keys that may be shown.
      top: matches per query.
    """
    cosines = query[shown].astype(np.float32) @ key.astype(np.float32).T
    own = cosines[np.arange(len(shown)), shown]
    above, level = (cosines > own[:, None] + TIE).sum(1), (cosines >= own[:, None] - TIE).sum(1)
    out = []
    for i, cosine in enumerate(cosines[:, shown]):
        # Of equal matches the correct one is last: a collapsed net must not look good.
        order = np.lexsort((np.arange(len(shown)) == i, -np.round(cosine / TIE)))
        matches = order[:top].tolist()
        if i not in matches:
            matches.append(i)
        ranks = [1.0 + order.tolist().index(m) for m in matches]
        rank = 1 + above[i] + (level[i] - above[i] - 1) / 2
        out.append(Query(i, tuple(matches), tuple(ranks), tuple(cosine[matches]), float(rank)))
    return out


def pick_queries(right: list[bool], count: int) -> list[int]:
    """Picks queries, half correct and half wrong if possible, evenly spaced.

    Args:
      right: whether each query is correct.
      count: maximum number of queries.
    """
    sides = [np.flatnonzero(right), np.flatnonzero(~np.array(right))]
    take = [min(len(sides[0]), max(count // 2, count - len(sides[1])))]
    take.append(min(len(sides[1]), count - take[0]))
    chosen = [
        side[np.linspace(0, len(side) - 1, n).round().astype(int)] for side, n in zip(sides, take)
    ]
    return np.concatenate(chosen).astype(int).tolist()


def tile(arrays: dict, at: int, thumbnail: int, side: str | None, kind: str, text: str) -> str:
    """Returns frame, spectrogram and name of a test record as HTML.

    Args:
      arrays: of the suite.
      at: position in the test set.
      thumbnail: position in the gallery.
      side: the modality that is shown larger; None for neither.
      kind: CSS class: "query", "right", "same", "wrong" or "".
      text: above the name.
    """
    words = [arrays["test/name"][at] if "test/name" in arrays else ""]
    words += [class_name(arrays["test/label"][at], arrays), f"row {arrays['test/index'][at]}"]
    caption, *rest = filter(None, words)
    aside = ", ".join(rest)
    size = {"video": "aside", "audio": "aside", side: "main"} if side else {}
    images = "".join(
        f'<img class="{size.get(modality, "half")}" alt="{modality}" src="{uri}">'
        for modality, uri in (
            ("video", frame_uri(arrays["gallery/frame"][thumbnail])),
            ("audio", spectrogram_uri(arrays["gallery/sound"][thumbnail])),
        )
    )
    return (
        f'<figure class="tile {kind}"><div>{images}</div>'
        f"<figcaption><b>{text}</b> {escape(caption)} <small>{escape(aside)}</small>"
        "</figcaption></figure>"
    )


def class_name(label: int, arrays: dict) -> str:
    """Returns the name of a class; "" without labels."""
    classes = arrays.get("test/classes", ())
    if 0 <= label < len(classes):
        return str(classes[label])
    return f"class {label}" if label >= 0 else ""


def with_names(arrays: dict) -> dict:
    """Returns `arrays` with "test/name": the N paths relative to their common folder."""
    paths = [os.fsdecode(path) for path in arrays.get("test/path", ())]
    if not any(paths) or "test/name" in arrays:
        return arrays
    try:
        above = os.path.commonpath({os.path.dirname(path) for path in paths})
        names = [os.path.relpath(path, above) for path in paths]
    except ValueError:  # Some paths are relative, or on another drive.
        names = paths
    return arrays | {"test/name": names}


def query_row(
    found: Query,
    arrays: dict,
    shown: np.ndarray,
    thumbnails: np.ndarray,
    query: str,
    key: str,
    total: int,
    top: int,
) -> str:
    """Returns one query and its matches as a row of tiles.

    Args:
      found: the query.
      arrays: of the suite.
      shown, thumbnails: as of `thumbnail_positions`.
      query, key: modalities.
      total: number of keys.
      top: matches before the correct one, which may follow.
    """
    tiles = tile(arrays, shown[found.at], thumbnails[found.at], query, "query", "query:")
    for match, rank, cosine in zip(found.matches, found.ranks, found.cosine):
        if rank > top:
            tiles += "<span class=gap>…</span>"
        kind = match_kind(shown[found.at], shown[match], arrays["test/label"])
        text = f"{rank:.0f} {MARKS[kind]} {cosine:.2f}"
        tiles += tile(arrays, shown[match], thumbnails[match], key, kind, text)
    rank = f"rank of its own {key} among all {total}: {found.rank:g}"
    return f"<div class=line>{tiles}<p class=rank>{rank}</p></div>"


def match_kind(one: int, other: int, label: np.ndarray) -> str:
    """Returns "right" for the record itself, "same" for one of its class, else "wrong".

    Args:
      one, other: positions of the query and the match.
      label: int [N].
    """
    if one == other:
        return "right"
    return "same" if label[one] == label[other] >= 0 else "wrong"


def frame_uri(image: np.ndarray) -> str:
    """Returns a data URI of an RGB image [64, 64, 3]."""
    return jpeg_uri(np.ascontiguousarray(image[..., ::-1]))


def spectrogram_uri(image: np.ndarray) -> str:
    """Returns a data URI of a spectrogram [64, 64], from dark (silent) to bright."""
    return jpeg_uri(cv2.applyColorMap(np.ascontiguousarray(image), cv2.COLORMAP_MAGMA))


def jpeg_uri(image: np.ndarray) -> str:
    """Returns a data URI of a BGR image, as JPEG."""
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])
    if not done:
        raise ValueError(f"cannot encode an image of shape {image.shape} as JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
