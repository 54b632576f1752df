"""Range checks of values; errors name the value and the allowed range."""

import math
from collections.abc import Mapping
from numbers import Integral, Real

import numpy as np

MIN_MEMORY_LIMIT = 2**26  # Bytes: with fewer a worker cannot decode anything.


def check_integer(name: str, value, minimum: int = 1, maximum: int | None = None) -> None:
    """Raises ValueError unless `value` is a whole number from `least` to `most`."""
    fits = isinstance(value, Integral) and not isinstance(value, bool)
    if not fits or int(value) < minimum or (maximum is not None and int(value) > maximum):
        bounds = f"of at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        raise ValueError(f"{name}={value!r}: use a whole number {bounds}")


def check_number(name: str, value, minimum=None, maximum=None, above=None, below=None) -> None:
    """Raises ValueError unless `value` is finite and within the bounds.

    Args:
      name: in messages, e.g. the dotted key.
      value: the value.
      minimum, maximum: inclusive bounds.
      above, below: exclusive bounds.
    """
    words = {"of at least": minimum, "of at most": maximum, "above": above, "below": below}
    bounds = " and ".join(f"{word} {bound:g}" for word, bound in words.items() if bound is not None)
    fits = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if (
        not fits
        or (minimum is not None and value < minimum)
        or (maximum is not None and value > maximum)
        or (above is not None and value <= above)
        or (below is not None and value >= below)
    ):
        raise ValueError(f"{name}={value!r}: use a number {bounds or 'that is finite'}")


def check_loading(values: Mapping, prefix: str = "") -> None:
    """Raises ValueError unless the arguments of `data.pipeline` among `values` are in range.

    Args:
      values: {name: value}; other names are ignored, as is None for the number of workers.
      prefix: of the names in messages, e.g. "config.data.train.".
    """
    for name, minimum in (("workers", 0), ("memory_limit", MIN_MEMORY_LIMIT), ("repeats", 1)):
        if values.get(name) is not None or (name in values and name != "workers"):
            check_integer(f"{prefix}{name}", values[name], minimum)
    if "timeout" in values:
        check_number(f"{prefix}timeout", values["timeout"], above=0)
    if "max_unreadable" in values:
        check_number(f"{prefix}max_unreadable", values["max_unreadable"], minimum=0, maximum=1)


def check_interval(name: str, pair, minimum: float, maximum: float) -> None:
    """Raises ValueError unless `pair` is (low, high) with least < low <= high <= most."""
    fits = isinstance(pair, list | tuple) and len(pair) == 2
    if not fits or not all(isinstance(x, Real) and math.isfinite(x) for x in pair):
        raise ValueError(f"{name}={pair!r}: use two numbers (low, high)")
    if not minimum < pair[0] <= pair[1] <= maximum:
        raise ValueError(
            f"{name}={pair!r}: use (low, high), {minimum:g} < low <= high <= {maximum:g}"
        )


def check_finite(name: str, rows: np.ndarray) -> None:
    """Raises ValueError with the first such row if rows [N, D] have NaN or infinite values."""
    broken = np.flatnonzero(~np.isfinite(rows).all(-1))
    if len(broken):
        where = f"{len(broken)} of {len(rows)} rows, first in row {broken[0]}"
        raise ValueError(
            f"{name} are not finite in {where}: evaluate an earlier checkpoint, or "
            "train with a lower learning rate"
        )
