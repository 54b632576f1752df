"""Alignment and uniformity: distance of a video to its own audio, evenness of a modality.

Wang and Isola, ICML 2020, https://arxiv.org/abs/2005.10242.
"""

import itertools
import math
from collections.abc import Callable

import numpy as np

from avjax.evals.features import Features, score_by_space
from avjax.types import NotApplicable


def make(
    power: float = 2.0, spread: float = 2.0
) -> Callable[[Features | None, Features], dict[str, float]]:
    """`alignment` for each pair of modalities, `uniformity` for each modality.

    Alignment is the mean of |x - y|^power over records that have all modalities: 0 is best, two
    independent points of a sphere are at sqrt(2).  Uniformity is the log of the mean of exp(-spread
    * |x - y|^2) over pairs of different records that have the modality: lower is more even, 0 is a
    single point.

    Args:
      power: exponent; 2 in the paper.
      spread: factor; 2 in the paper.

    Returns:
      A score (train, test) -> {name: value} for avjax.evals.suite.
    """
    for name, value in (("power", power), ("spread", spread)):
        if not value > 0:
            raise ValueError(f"{name}={value!r}: it must be above 0, e.g. 2.0")

    def score(train, test):
        check(test)
        return score_by_space("alignment", None, test, of_space)

    def of_space(name, train, test):
        check(test)
        z = {m: found["embedding"] for m, found in test.modalities.items()}
        if len(z) == 1:
            return {f"{name}/uniformity": uniformity(z[name], spread)}
        return {
            f"{one[0]}2{other[0]}/alignment": alignment(z[one], z[other], power)
            for one, other in itertools.combinations(z, 2)
        }

    return score


def check(test: Features) -> None:
    """Raises NotApplicable for fewer than two records."""
    if len(test.label) < 2:
        raise NotApplicable(f"needs two test records, and there are {len(test.label)}")


def alignment(x: np.ndarray, y: np.ndarray, power: float = 2.0) -> float:
    """Computes the mean of |x_i - y_i|^power.

    Args:
      x, y: float [N, D].
      power: exponent.
    """
    return float(np.mean(np.linalg.norm(x - y, axis=-1) ** power))


def uniformity(x: np.ndarray, spread: float = 2.0, cells: int = 2**24) -> float:
    """Computes the log of the mean of exp(-spread |x_i - x_j|^2) over i != j.

    Args:
      x: float [N, D].
      spread: factor.
      cells: pairs in memory at a time.
    """
    n = len(x)
    rows, square, total = max(1, cells // n), np.sum(x * x, axis=1), 0.0
    for start in range(0, n, rows):
        part = slice(start, start + rows)
        distance = square[part, None] + square[None] - 2 * x[part] @ x.T
        near = np.exp(-spread * np.maximum(distance, 0))
        here = np.arange(len(near))
        near[here, start + here] = 0
        total += float(near.sum(dtype=np.float64))
    # A float32 sum may underflow to nothing where all points are far apart and few.
    return math.log(max(total / (n * (n - 1)), 1e-38))
