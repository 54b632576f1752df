"""What a net retrieves, to be looked at: queries with their nearest matches, as HTML.

Reads the arrays of a suite (see avjax.evals.suite): embeddings of all N test records that
have all modalities, and pictures of M of them.  Matches are sought among those M, as only they can
be shown.
"""

import base64
import os
import zipfile
from html import escape
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from avjax.report.html import none
from avjax.runtime import metric_records

MARKS = {"right": "✓", "same": "≈", "wrong": "✗"}
TIE = 1e-6  # Cosines nearer than this are equal, as in avjax.evals.retrieval.


class Query(NamedTuple):
    """One query and what it found; positions are those of the M records with pictures."""

    at: int
    matches: tuple[int, ...]  # nearest first; the right one last where it is not among them
    ranks: tuple[float, ...]  # of each match, among M
    cosine: tuple[float, ...]
    rank: float  # of the right one among all N; ties count half


def part(folder: Path) -> str:
    """The galleries of a run, one a suite, as HTML."""
    files = sorted(folder.glob("*.npz")) if folder.is_dir() else []
    sections = []
    for path in files:
        try:
            with np.load(path, allow_pickle=False) as file:
                html = section(dict(file))
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            html = none(f"{path.name} cannot be read: {error}")
        sections.append(f"<h3>{escape(path.stem)}</h3>{html}")
    missing = "No gallery: the run has saved no evaluation arrays (evals/*.npz) yet."
    return "".join(sections) or none(missing)


def section(arrays: dict, count: int = 12, top: int = 5) -> str:
    """The gallery of one suite as HTML, or a sentence on why there is none."""
    arrays = with_names(metric_records.paired(arrays))
    names = [n.split("/")[1] for n in arrays if n.startswith("test/") and n.endswith("/embedding")]
    width = {name: arrays[f"test/{name}/embedding"].shape[1] for name in names}
    pairs = [(q, k) for q in names for k in names if q != k and width[q] == width[k]]
    if "gallery/row" not in arrays or not pairs:
        return none("No gallery: the evaluation saved no pictures or only one modality.")
    shown, pictures = places(arrays)
    if len(shown) < 2:
        return none("No gallery: fewer than two test records have pictures and embeddings.")
    total = len(arrays["test/index"])
    parts = []
    for q, k in pairs:
        found = search(arrays[f"test/{q}/embedding"], arrays[f"test/{k}/embedding"], shown, top)
        picked = pick([f.matches[0] == f.at for f in found], count)
        lines = "".join(line(found[i], arrays, shown, pictures, q, k, total, top) for i in picked)
        right = sum(f.matches[0] == f.at for f in found)
        parts.append(
            f"<h4>{escape(q)} → {escape(k)}</h4><p class=note>Half of these {len(picked)} queries "
            f"were picked where the nearest match is right, half where it is wrong, if there are "
            f"so many; of all {len(found)}, {right} are right. Matches are searched among the "
            f"{len(found)} records that have pictures, of {total} with both. Under a match: its "
            f"rank, its cosine, and <b>✓</b> if it is the query's own record, <b>≈</b> if it is "
            f"another of the same class, <b>✗</b> if neither.</p>{lines}"
        )
    return "".join(parts)


def places(arrays: dict) -> tuple[np.ndarray, np.ndarray]:
    """Of the M records with picture and embedding: where in the test set, where in the gallery."""
    rows = arrays["gallery/row"]
    _, shown, pictures = np.intersect1d(arrays["test/index"], rows, return_indices=True)
    return shown, pictures


def search(query, key, shown, top: int) -> list[Query]:
    """What each of the M `shown` rows of `query` [N, D] finds in `key` [N, D]."""
    whole = query[shown].astype(np.float32) @ key.astype(np.float32).T
    own = whole[np.arange(len(shown)), shown]
    above, level = (whole > own[:, None] + TIE).sum(1), (whole >= own[:, None] - TIE).sum(1)
    out = []
    for i, cosine in enumerate(whole[:, shown]):
        # Of equal matches the right one comes last: a collapsed net shall not look good.
        order = np.lexsort((np.arange(len(shown)) == i, -np.round(cosine / TIE)))
        matches = order[:top].tolist()
        if i not in matches:
            matches.append(i)
        ranks = [1.0 + order.tolist().index(m) for m in matches]
        rank = 1 + above[i] + (level[i] - above[i] - 1) / 2
        out.append(Query(i, tuple(matches), tuple(ranks), tuple(cosine[matches]), float(rank)))
    return out


def pick(right: list[bool], count: int) -> list[int]:
    """Up to `count` positions, half right and half wrong where possible, evenly over the set."""
    sides = [np.flatnonzero(right), np.flatnonzero(~np.array(right))]
    take = [min(len(sides[0]), max(count // 2, count - len(sides[1])))]
    take.append(min(len(sides[1]), count - take[0]))
    chosen = [
        side[np.linspace(0, len(side) - 1, n).round().astype(int)] for side, n in zip(sides, take)
    ]
    return np.concatenate(chosen).astype(int).tolist()


def tile(arrays, at, picture, side, kind, text) -> str:
    """Frame and sound of test record `at` and its name; the modality `side`, if any, is larger."""
    words = [arrays["test/name"][at] if "test/name" in arrays else ""]
    words += [named(arrays["test/label"][at], arrays), f"row {arrays['test/index'][at]}"]
    caption, *rest = filter(None, words)
    aside = ", ".join(rest)
    size = {"video": "aside", "audio": "aside", side: "main"} if side else {}
    images = "".join(
        f'<img class="{size.get(modality, "half")}" alt="{modality}" src="{uri}">'
        for modality, uri in (
            ("video", frame(arrays["gallery/frame"][picture])),
            ("audio", sound(arrays["gallery/sound"][picture])),
        )
    )
    return (
        f'<figure class="tile {kind}"><div>{images}</div>'
        f"<figcaption><b>{text}</b> {escape(caption)} <small>{escape(aside)}</small>"
        "</figcaption></figure>"
    )


def named(label: int, arrays: dict) -> str:
    """The name of a class, "" where there is none."""
    classes = arrays.get("test/classes", ())
    if 0 <= label < len(classes):
        return str(classes[label])
    return f"class {label}" if label >= 0 else ""


def with_names(arrays: dict) -> dict:
    """`arrays` with "test/name", the N paths below the folder that all have in common."""
    paths = [os.fsdecode(path) for path in arrays.get("test/path", ())]
    if not any(paths) or "test/name" in arrays:
        return arrays
    try:
        above = os.path.commonpath({os.path.dirname(path) for path in paths})
        names = [os.path.relpath(path, above) for path in paths]
    except ValueError:  # Some paths are relative, or on another drive.
        names = paths
    return arrays | {"test/name": names}


def line(found: Query, arrays, shown, pictures, query, key, total, top) -> str:
    """One query and its matches as a row of tiles."""
    tiles = tile(arrays, shown[found.at], pictures[found.at], query, "query", "query:")
    for match, rank, cosine in zip(found.matches, found.ranks, found.cosine):
        if rank > top:
            tiles += "<span class=gap>…</span>"
        kind = likeness(shown[found.at], shown[match], arrays["test/label"])
        text = f"{rank:.0f} {MARKS[kind]} {cosine:.2f}"
        tiles += tile(arrays, shown[match], pictures[match], key, kind, text)
    rank = f"rank of its own {key} among all {total}: {found.rank:g}"
    return f"<div class=line>{tiles}<p class=rank>{rank}</p></div>"


def likeness(one: int, other: int, label) -> str:
    """ "right" for the record itself, "same" for another of its class, else "wrong"."""
    if one == other:
        return "right"
    return "same" if label[one] == label[other] >= 0 else "wrong"


def frame(picture: np.ndarray) -> str:
    """A data URI of an RGB picture [64, 64, 3]."""
    return jpeg(np.ascontiguousarray(picture[..., ::-1]))


def sound(picture: np.ndarray) -> str:
    """A data URI of a spectrogram [64, 64], from dark (silent) to bright."""
    return jpeg(cv2.applyColorMap(np.ascontiguousarray(picture), cv2.COLORMAP_MAGMA))


def jpeg(picture: np.ndarray) -> str:
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
    if not done:
        raise ValueError(f"cannot make a JPEG of a picture of shape {picture.shape}")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
