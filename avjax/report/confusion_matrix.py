"""A confusion matrix as SVG: labels on hover, colors of the page, any number of classes."""

from collections.abc import Sequence
from html import escape

import numpy as np

MAX_DRAWN = 1000  # Cells, the largest ones: a page must stay small.
MAX_NAMED = 120  # Classes with names beside the matrix; more have them on hover only.
CELL_SIZES = ((6, 44), (12, 34), (20, 24), (35, 17), (60, 13), (MAX_NAMED, 9), (250, 4))
NAME_LENGTH = 26  # Characters of a class name beside the matrix.


def draw(confusion: np.ndarray, classes: Sequence[str]) -> str:
    """Draws a confusion matrix: rows true, columns predicted; opacity is the share of the row.

    Args:
      confusion: int [C, C].
      classes: C names.

    Returns:
      SVG.
    """
    count = len(classes)
    size = next((size for most, size in CELL_SIZES if count <= most), 2)
    font = min(12.0, size - 0.5)
    names = [shorten(name) for name in classes] if count <= MAX_NAMED else []
    margin = round(8 + 0.64 * font * max(map(len, names), default=0))
    width = margin + size * count + 2
    shown = largest_cells(confusion)
    cells = {
        color: "".join(
            _cell(confusion, classes, i, j, size, margin) for i, j in shown if (i == j) == is_right
        )
        for color, is_right in (("var(--right)", True), ("var(--wrong)", False))
    }
    groups = [f'<g fill="{color}">{drawn}</g>' for color, drawn in cells.items()]
    numbers = [_number(confusion, i, j, size, margin) for i, j in shown] if size >= 20 else []
    labels = [_labels(name, i, size, margin, font) for i, name in enumerate(names)]
    edge, right, total = size * count, int(np.trace(confusion)), int(confusion.sum())
    label = (
        f"Confusion matrix of {count} classes: {right:,} of {total:,} records are on the diagonal."
    )
    return (
        f'<svg class=matrix role="img" aria-label="{label}" width="{width}" height="{width}" '
        f'viewBox="0 0 {width} {width}" font-size="{font:g}"><rect x="{margin}" y="{margin}" '
        f'width="{edge}" height="{edge}" fill="none" stroke="var(--line)"/>'
        f"{''.join(groups)}"
        f'<g text-anchor="middle" pointer-events="none">{"".join(numbers)}</g>'
        f"{''.join(labels)}</svg>"
    )


def largest_cells(confusion: np.ndarray) -> list[tuple[int, int]]:
    """Returns (row, column) of the cells that are drawn: not 0, the largest MAX_DRAWN.

    Args:
      confusion: int [C, C].
    """
    found = np.argwhere(confusion)
    order = np.argsort(-confusion[found[:, 0], found[:, 1]], kind="stable")[:MAX_DRAWN]
    return [(int(i), int(j)) for i, j in found[np.sort(order)]]


def _cell(confusion, classes, i, j, size, margin):
    """One cell as SVG, with names and count on hover."""
    count, total = int(confusion[i, j]), int(confusion[i].sum())
    share = count / total
    words = classes[i] if i == j else f"{classes[i]} → {classes[j]}"
    title = escape(f"{words}: {count:,} of {total:,} ({100 * share:.0f}\N{NO-BREAK SPACE}%)")
    return (
        f'<path d="M{margin + size * j} {margin + size * i}h{size}v{size}h-{size}z" '
        f'fill-opacity="{0.1 + 0.8 * share:.2f}"><title>{title}</title></path>'
    )


def _number(confusion, i, j, size, margin):
    """The count of a cell as SVG."""
    x, y = margin + size * (j + 0.5), margin + size * (i + 0.5) + 4
    return f'<text x="{x:g}" y="{y:g}">{int(confusion[i, j])}</text>'


def _labels(name, i, size, margin, font):
    """The name of a class beside its row and above its column, as SVG."""
    at = margin + size * (i + 0.5) + 0.36 * font
    return (
        f'<text x="{margin - 5}" y="{at:.1f}" text-anchor="end">{escape(name)}</text>'
        f'<text transform="translate({at:.1f} {margin - 5}) rotate(-90)">{escape(name)}</text>'
    )


def shorten(name: str) -> str:
    """Returns a name with at most NAME_LENGTH characters."""
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…"
