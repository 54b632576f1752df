"""Pairs of records on a plane: how alike their pictures are against how alike their sounds are.

Where both are high the two modalities agree on a kinship that nobody has told them: CMA takes
as positives the pairs of greatest min(<v_i, v_j>, <a_i, a_j>), https://arxiv.org/abs/2004.12943.
"""

from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from avjax.report import plots, retrieval_gallery
from avjax.report.html import heading, row

HIGH = 0.9  # The quantile of pairs above which a similarity is high.
PAIRS = 300_000  # Drawn at random where there are more.
CELLS, LEVELS = 56, 8  # Of the density: squares a side, and shades.
QUADRANTS = {  # name: (video is high, audio is high)
    "video high, audio high": (True, True),
    "video high, audio low": (True, False),
    "video low, audio high": (False, True),
    "video low, audio low": (False, False),
}


class Plane(NamedTuple):
    """P pairs of different records of N; cosines are float32."""

    first: np.ndarray  # int [P]
    second: np.ndarray  # int [P]
    video: np.ndarray  # [P]
    audio: np.ndarray  # [P]


def part(arrays: dict) -> str:
    """The plane of one suite with its quadrants, as HTML."""
    video, audio = (arrays[f"test/{name}/embedding"] for name in ("video", "audio"))
    plane = pairs(video, audio, *drawn(len(video)))
    cuts = [float(np.quantile(side, HIGH)) for side in (plane.video, plane.audio)]
    every = len(video) * (len(video) - 1) // 2
    note = (
        f"{len(plane.video):,} of the {every:,} pairs of test records that have both, by the "
        "cosine of their pictures and that of their sounds. High is above the "
        f"{HIGH:.0%} quantile of these "
        f"pairs (dashed): {cuts[0]:.2f} for video, {cuts[1]:.2f} for audio. A pair's agreement is "
        "the lesser of its two cosines, as CMA has it."
    )
    drawing = plots.panel("similarity of sound against similarity of picture", draw(plane, cuts))
    return (
        f'<p class=note>{note}</p><div class="panels large">{drawing}</div>'
        f"{summary(plane, cuts, arrays)}{galleries(plane, arrays)}"
    )


def drawn(n: int) -> tuple[np.ndarray, np.ndarray]:
    """All pairs i < j of n records, or `PAIRS` random ones of i != j if there are more."""
    if n * (n - 1) // 2 <= PAIRS:
        return np.triu_indices(n, 1)
    rng = np.random.default_rng(0)
    first = rng.integers(n, size=PAIRS)
    return first, (first + rng.integers(1, n, size=PAIRS)) % n


def pairs(video, audio, first, second) -> Plane:
    """The plane of pairs (first, second), rows of [N, D] and [N, D] of unit length."""
    step = 2**16  # Pairs at a time: all these embeddings would not fit everywhere.
    cosines = [
        np.concatenate([
            np.einsum("pd,pd->p", z[first[at : at + step]], z[second[at : at + step]])
            for at in range(0, len(first), step)
        ])
        for z in (video, audio)
    ]  # fmt: skip
    return Plane(first, second, *cosines)


def draw(plane: Plane, cuts) -> str:
    """The density of pairs, darker by the logarithm of their number, as SVG."""
    count, x, y = np.histogram2d(plane.video, plane.audio, CELLS)
    shade = np.ceil(LEVELS * np.log1p(count) / np.log1p(count.max())).astype(int)
    with matplotlib.rc_context(plots.STYLE):
        figure = Figure(figsize=(6.4, 4.6), layout="constrained")
        axes = figure.add_subplot()
        for level in range(1, LEVELS + 1):  # One outline a shade keeps the page small.
            squares = [square(x, y, i, j) for i, j in np.argwhere(shade == level)]
            if squares:
                outline = Path.make_compound_path(*squares)
                axes.add_patch(
                    PathPatch(
                        outline, facecolor=plots.COLORS[0], alpha=level / LEVELS, linewidth=0,
                        antialiased=False,
                    )
                )  # fmt: skip
        axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
        axes.set(xlabel="cosine of pictures", ylabel="cosine of sounds")
        axes.axvline(cuts[0], color=plots.INK, linewidth=1, linestyle="--")
        axes.axhline(cuts[1], color=plots.INK, linewidth=1, linestyle="--")
        return plots.svg(figure)


def square(x, y, i, j) -> Path:
    low, high = (x[i], y[j]), (x[i + 1], y[j + 1])
    return Path([low, (high[0], low[1]), high, (low[0], high[1]), low], closed=True)


def quadrant(plane: Plane, cuts, high) -> np.ndarray:
    """Which pairs [P] are on these sides (video, audio) of the cuts."""
    sides = (plane.video, plane.audio)
    return np.logical_and(*((s > c) == h for s, c, h in zip(sides, cuts, high)))


def summary(plane: Plane, cuts, arrays) -> str:
    """A table: of each quadrant its share of the pairs, what chance gives, and its classes."""
    label = arrays["test/label"]
    names = ["quadrant", "share of pairs", "if independent", "mean agreement", "of one class"]
    lines = ""
    for name, high in QUADRANTS.items():
        here = quadrant(plane, cuts, high)
        chance = np.prod([np.mean((s > c) == h) for s, c, h in zip(plane[2:], cuts, high)])
        both = here & (label[plane.first] >= 0) & (label[plane.second] >= 0)
        same = (label[plane.first] == label[plane.second])[both]
        lesser = np.minimum(plane.video, plane.audio)[here]
        cells = [
            f"{here.mean():.1%}",
            f"{chance:.1%}",
            f"{lesser.mean():.2f}" if here.any() else "–",
        ]
        lines += row(name, [*cells, f"{same.mean():.0%}" if len(same) else "–"])
    return f"<div class=wide><table>{heading(names)}{lines}</table></div>"


def galleries(plane: Plane, arrays: dict, count: int = 6) -> str:
    """The `count` most typical pairs of each quadrant, of those records that have pictures."""
    if "gallery/row" not in arrays:
        return '<p class="none">The evaluation saved no pictures of these pairs.</p>'
    shown, pictures = retrieval_gallery.places(arrays)
    z = [arrays[f"test/{name}/embedding"][shown] for name in ("video", "audio")]
    here = pairs(*z, *np.triu_indices(len(shown), 1))
    ranks = [
        np.searchsorted(np.sort(all_of), some) / len(all_of)
        for all_of, some in zip((plane.video, plane.audio), (here.video, here.audio))
    ]
    out = []
    for name, high in QUADRANTS.items():
        figures = ""
        for p in typical(ranks, high, here.first, here.second, count):
            video, audio = here.video[p], here.audio[p]
            tiles = "".join(
                retrieval_gallery.tile(arrays, shown[i], pictures[i], None, "", "")
                for i in (here.first[p], here.second[p])
            )
            said = f"video {video:.2f}, audio {audio:.2f}, agreement {min(video, audio):.2f}"
            figures += f"<div class=pair>{tiles}<p class=note>{said}</p></div>"
        out.append(f"<h4>{name}</h4><div class=line>{figures or 'No pair.'}</div>")
    return (
        "<p class=note>Of each quadrant the pairs that lie deepest in it, by rank and in the "
        f"modality where they lie less deep; no record twice. {len(shown)} records have "
        f"pictures.</p>{''.join(out)}"
    )


def typical(ranks, high, first, second, count) -> list[int]:
    """Up to `count` pairs that lie deepest in a quadrant, no record twice; ranks [P] are 0 to 1."""
    depth = np.min(
        [(r - HIGH) / (1 - HIGH) if h else (HIGH - r) / HIGH for r, h in zip(ranks, high)], axis=0
    )
    picked, seen = [], set()
    for p in np.argsort(-depth, kind="stable"):
        if depth[p] <= 0 or len(picked) == count:
            break
        ends = {int(first[p]), int(second[p])}
        if not ends & seen:
            picked.append(int(p))
            seen |= ends
    return picked
