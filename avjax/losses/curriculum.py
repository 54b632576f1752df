"""The curriculum of AVTS: which negatives a batch has at which step."""

from collections.abc import Sequence

import numpy as np

# (first step, (easy, hard, super-hard)) of each stage: shares of the negatives.
Curriculum = Sequence[tuple[int, tuple[float, float, float]]]


def parse_curriculum(curriculum: Curriculum) -> tuple[np.ndarray, np.ndarray]:
    """Validates a curriculum: (first steps, int [S]; shares, float [S, 3]).

    Raises:
      ValueError: steps do not start at 0 and increase, or shares do not sum to 1.
    """
    first_steps = np.array([first for first, _ in curriculum])
    shares = np.array([shares for _, shares in curriculum], float)
    if not len(first_steps) or first_steps[0] != 0 or (np.diff(first_steps) <= 0).any():
        raise ValueError(f"curriculum with steps {first_steps.tolist()}: start at 0 and increase")
    if shares.shape[1:] != (3,) or (shares < 0).any() or not np.allclose(shares.sum(1), 1):
        raise ValueError(
            f"curriculum={curriculum}: use (first step, (easy, hard, super-hard)) with shares of "
            "at least 0 that sum to 1"
        )
    return first_steps, shares
