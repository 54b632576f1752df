"""Refuses values that make no sense, with what to use instead."""

import math
from numbers import Integral, Real

import numpy as np


def whole(name: str, value, least: int = 1, most: int | None = None) -> None:
    """Raises ValueError unless `value` is a whole number from `least` to `most`."""
    fits = isinstance(value, Integral) and not isinstance(value, bool)
    if not fits or value < least or (most is not None and value > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name}={value!r}: use a whole number {bounds}")


def number(name: str, value, least=None, most=None, above=None, below=None) -> None:
    """Raises ValueError unless `value` is finite, at least, at most, above and below the bounds."""
    words = {"of at least": least, "of at most": most, "above": above, "below": below}
    bounds = " and ".join(f"{word} {bound:g}" for word, bound in words.items() if bound is not None)
    fits = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if (
        not fits
        or (least is not None and value < least)
        or (most is not None and value > most)
        or (above is not None and value <= above)
        or (below is not None and value >= below)
    ):
        raise ValueError(f"{name}={value!r}: use a number {bounds or 'that is finite'}")


def rising(name: str, pair, least: float, most: float) -> None:
    """Raises ValueError unless `pair` is (low, high) with least < low <= high <= most."""
    fits = isinstance(pair, list | tuple) and len(pair) == 2
    if not fits or not all(isinstance(x, Real) and math.isfinite(x) for x in pair):
        raise ValueError(f"{name}={pair!r}: use two numbers (low, high)")
    if not least < pair[0] <= pair[1] <= most:
        raise ValueError(f"{name}={pair!r}: use (low, high), {least:g} < low <= high <= {most:g}")


def finite(name: str, rows: np.ndarray) -> None:
    """Raises ValueError, with the first row, where numbers [N, D] are NaN or infinite."""
    broken = np.flatnonzero(~np.isfinite(rows).all(-1))
    if len(broken):
        where = f"{len(broken)} of {len(rows)} rows, first in row {broken[0]}"
        raise ValueError(
            f"{name} are not finite in {where}: evaluate an earlier checkpoint, or "
            "train with a lower learning rate"
        )
