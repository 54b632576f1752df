"""What a net retrieves, to be looked at: queries with their nearest matches, as HTML.

Reads the arrays of a suite (see avjax.evals.suite): embeddings of all N test records and
pictures of M of them.  Matches are sought among those M, as only they can be shown.
"""

import base64
import zipfile
from html import escape
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

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
            html = f"<p class=none>{escape(path.name)} cannot be read: {escape(str(error))}</p>"
        sections.append(f"<h3>{escape(path.stem)}</h3>{html}")
    missing = "No gallery: the run has saved no evaluation arrays (evals/*.npz) yet."
    return "".join(sections) or f"<p class=none>{missing}</p>"


def section(arrays: dict, count: int = 12, top: int = 5) -> str:
    """The gallery of one suite as HTML, or a sentence on why there is none."""
    names = [n.split("/")[1] for n in arrays if n.startswith("test/") and n.endswith("/embedding")]
    pairs = [(q, k) for q in names for k in names if q != k]
    if "gallery/row" not in arrays or len(arrays["gallery/row"]) < 2 or not pairs:
        return (
            "<p class=none>No gallery: the evaluation saved no pictures or one modality only.</p>"
        )
    shown, pictures = places(arrays)
    total = len(arrays["test/index"])
    parts = []
    for q, k in pairs:
        found = search(arrays[f"test/{q}/embedding"], arrays[f"test/{k}/embedding"], shown, top)
        picked = pick([f.matches[0] == f.at for f in found], count)
        lines = "".join(line(found[i], arrays, shown, pictures, q, k, total, top) for i in picked)
        right = sum(f.matches[0] == f.at for f in found)
        parts.append(
            f"<h4>{escape(q)} finds {escape(k)}</h4><p class=note>Half of these {len(picked)} "
            f"queries were picked where the nearest match is right, half where it is wrong, as far "
            f"as there are any. In truth {right} of {len(found)} are right. Matches are sought "
            f"among the {len(found)} records that have pictures, of {total}. Under a match: its "
            f"place, ✓ if it is the query's own record and ✗ if not, its cosine.</p>{lines}"
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
    name = named(arrays["test/label"][at], arrays)
    caption = f"row {arrays['test/index'][at]}" + (f", {name}" if name else "")
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
        f"<figcaption><b>{text}</b> {escape(caption)}</figcaption></figure>"
    )


def named(label: int, arrays: dict) -> str:
    """The name of a class, "" where there is none."""
    classes = arrays.get("test/classes", ())
    return str(classes[label]) if 0 <= label < len(classes) else f"class {label}" * (label >= 0)


def line(found: Query, arrays, shown, pictures, query, key, total, top) -> str:
    """One query and its matches as a row of tiles."""
    tiles = tile(arrays, shown[found.at], pictures[found.at], query, "query", "query:")
    for match, rank, cosine in zip(found.matches, found.ranks, found.cosine):
        right = match == found.at
        if rank > top:
            tiles += "<span class=gap>…</span>"
        mark = "✓" if right else "✗"
        text = f"{rank:.0f} {mark} {cosine:.2f}"
        kind = "right" if right else "wrong"
        tiles += tile(arrays, shown[match], pictures[match], key, kind, text)
    rank = f"rank of the right one among all {total}: {found.rank:g}"
    return f"<div class=line>{tiles}<p class=rank>{rank}</p></div>"


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
