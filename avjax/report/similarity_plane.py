"""Pairs of records on a plane: video similarity against audio similarity.

Pairs that are similar in both modalities are found without supervision: CMA takes as positives
the pairs with the greatest min(<v_i, v_j>, <a_i, a_j>), https://arxiv.org/abs/2004.12943.
"""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from avjax.report import plots, retrieval_gallery
from avjax.report.html import header_row, table_row

HIGH_QUANTILE = 0.9  # The quantile above which a similarity is high.
MAX_PAIRS = 300_000  # A random sample if there are more.
GRID_SIZE, NUM_SHADES = 56, 8  # Of the density plot: cells per side, and shades.
QUADRANTS = {  # name: (video is high, audio is high)
    "video high, audio high": (True, True),
    "video high, audio low": (True, False),
    "video low, audio high": (False, True),
    "video low, audio low": (False, False),
}


class Plane(NamedTuple):
    """P pairs of different records; cosines are float32."""

    first: np.ndarray  # int [P]
    second: np.ndarray  # int [P]
    video: np.ndarray  # [P]
    audio: np.ndarray  # [P]


def section(arrays: dict) -> str:
    """Returns the plane of one suite with its quadrants as HTML."""
    video, audio = (arrays[f"test/{name}/embedding"] for name in ("video", "audio"))
    plane = pair_similarities(video, audio, *sample_pairs(len(video)))
    cuts = [float(np.quantile(side, HIGH_QUANTILE)) for side in (plane.video, plane.audio)]
    every = len(video) * (len(video) - 1) // 2
    note = (
        f"{len(plane.video):,} of the {every:,} pairs of test records with both modalities, by "
        "the cosine of their videos and that of their audio. High is above the "
        f"{HIGH_QUANTILE:.0%} quantile of these "
        f"pairs (dashed): {cuts[0]:.2f} for video, {cuts[1]:.2f} for audio. A pair's agreement is "
        "the smaller of its two cosines, as in CMA."
    )
    drawing = plots.panel("audio similarity against video similarity", draw_density(plane, cuts))
    return (
        f'<p class=note>{note}</p><div class="panels large">{drawing}</div>'
        f"{quadrant_table(plane, cuts, arrays)}{galleries(plane, arrays)}"
    )


def sample_pairs(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns all pairs i < j of n records, or `MAX_PAIRS` random ones i != j if there are more."""
    if n * (n - 1) // 2 <= MAX_PAIRS:
        return np.triu_indices(n, 1)
    rng = np.random.default_rng(0)
    first = rng.integers(n, size=MAX_PAIRS)
    return first, (first + rng.integers(1, n, size=MAX_PAIRS)) % n


def pair_similarities(
    video: np.ndarray, audio: np.ndarray, first: np.ndarray, second: np.ndarray
) -> Plane:
    """Computes the cosines of pairs of records.

    Args:
      video, audio: float [N, D] of unit length.
      first, second: int [P], the records of each pair.
    """
    step = 2**16  # Pairs at a time, to limit memory.
    cosines = [
        np.concatenate([
            np.einsum("pd,pd->p", z[first[at : at + step]], z[second[at : at + step]])
            for at in range(0, len(first), step)
        ])
        for z in (video, audio)
    ]  # fmt: skip
    return Plane(first, second, *cosines)


def draw_density(plane: Plane, cuts: Sequence[float]) -> str:
    """Plots the density of pairs on a logarithmic scale; returns SVG.

    Args:
      plane: the pairs.
      cuts: (video, audio), from which on a cosine is high.
    """
    count, x, y = np.histogram2d(plane.video, plane.audio, GRID_SIZE)
    shade = np.ceil(NUM_SHADES * np.log1p(count) / np.log1p(count.max())).astype(int)
    with matplotlib.rc_context(plots.STYLE):
        figure = Figure(figsize=(6.4, 4.6), layout="constrained")
        axes = figure.add_subplot()
        for level in range(1, NUM_SHADES + 1):  # One outline per shade keeps the page small.
            squares = [square(x, y, i, j) for i, j in np.argwhere(shade == level)]
            if squares:
                outline = Path.make_compound_path(*squares)
                axes.add_patch(
                    PathPatch(
                        outline, facecolor=plots.COLORS[0], alpha=level / NUM_SHADES, linewidth=0,
                        antialiased=False,
                    )
                )  # fmt: skip
        axes.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
        axes.set(xlabel="video cosine", ylabel="audio cosine")
        axes.axvline(cuts[0], color=plots.INK, linewidth=1, linestyle="--")
        axes.axhline(cuts[1], color=plots.INK, linewidth=1, linestyle="--")
        return plots.figure_to_svg(figure)


def square(x: np.ndarray, y: np.ndarray, i: int, j: int) -> Path:
    """Returns the outline of cell (i, j) of a grid with edges x and y."""
    low, high = (x[i], y[j]), (x[i + 1], y[j + 1])
    return Path([low, (high[0], low[1]), high, (low[0], high[1]), low], closed=True)


def in_quadrant(plane: Plane, cuts: Sequence[float], high: Sequence[bool]) -> np.ndarray:
    """Returns which pairs are in a quadrant, bool [P].

    Args:
      plane: the pairs.
      cuts: (video, audio), from which on a cosine is high.
      high: (video, audio), whether they are high in the quadrant.
    """
    sides = (plane.video, plane.audio)
    return np.logical_and(*((s > c) == h for s, c, h in zip(sides, cuts, high)))


def quadrant_table(plane: Plane, cuts: Sequence[float], arrays: dict) -> str:
    """Returns a table of quadrants as HTML: shares of pairs, mean agreement, same-class share.

    Args:
      plane: the pairs.
      cuts: (video, audio), from which on a cosine is high.
      arrays: of the suite.
    """
    label = arrays["test/label"]
    names = ["quadrant", "share of pairs", "if independent", "mean agreement", "same class"]
    lines = ""
    for name, high in QUADRANTS.items():
        selected = in_quadrant(plane, cuts, high)
        chance = np.prod([np.mean((s > c) == h) for s, c, h in zip(plane[2:], cuts, high)])
        both = selected & (label[plane.first] >= 0) & (label[plane.second] >= 0)
        same = (label[plane.first] == label[plane.second])[both]
        lesser = np.minimum(plane.video, plane.audio)[selected]
        cells = [
            f"{selected.mean():.1%}",
            f"{chance:.1%}",
            f"{lesser.mean():.2f}" if selected.any() else "–",
        ]
        lines += table_row(name, [*cells, f"{same.mean():.0%}" if len(same) else "–"])
    return f"<div class=wide><table>{header_row(names)}{lines}</table></div>"


def galleries(plane: Plane, arrays: dict, count: int = 6) -> str:
    """Returns the `count` most typical pairs of each quadrant, of records with thumbnails."""
    if "gallery/sound" not in arrays:
        return '<p class="none">The evaluation saved no thumbnails of these pairs.</p>'
    shown, thumbnails = retrieval_gallery.thumbnail_positions(arrays)
    z = [arrays[f"test/{name}/embedding"][shown] for name in ("video", "audio")]
    first, second = np.triu_indices(len(shown), 1)
    pairs = pair_similarities(z[0], z[1], first, second)
    ranks = [
        np.searchsorted(np.sort(all_of), some) / len(all_of)
        for all_of, some in zip((plane.video, plane.audio), (pairs.video, pairs.audio))
    ]
    out = []
    for name, high in QUADRANTS.items():
        figures = ""
        for p in most_typical(ranks, high, pairs.first, pairs.second, count):
            video, audio = pairs.video[p], pairs.audio[p]
            tiles = "".join(
                retrieval_gallery.tile(arrays, int(shown[i]), int(thumbnails[i]), None, "", "")
                for i in (pairs.first[p], pairs.second[p])
            )
            text = f"video {video:.2f}, audio {audio:.2f}, agreement {min(video, audio):.2f}"
            figures += f"<div class=pair>{tiles}<p class=note>{text}</p></div>"
        out.append(f"<h4>{name}</h4><div class=line>{figures or 'No pair.'}</div>")
    return (
        "<p class=note>The most typical pairs of each quadrant: by the rank of their less "
        f"typical modality; no record twice. {len(shown)} records have thumbnails.</p>"
        f"{''.join(out)}"
    )


def most_typical(
    ranks: Sequence[np.ndarray],
    high: Sequence[bool],
    first: np.ndarray,
    second: np.ndarray,
    count: int,
) -> list[int]:
    """Returns up to `count` pairs deepest in a quadrant, no record twice; ranks [P] are 0 to 1."""
    depth = np.min(
        [
            (r - HIGH_QUANTILE) / (1 - HIGH_QUANTILE) if h else (HIGH_QUANTILE - r) / HIGH_QUANTILE
            for r, h in zip(ranks, high)
        ],
        axis=0,
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
