"""How near the gradient of InfoNCE with K negatives is to that with all of them."""

from collections.abc import Callable

import numpy as np

from avjax.config import ranges
from avjax.evals.features import Features
from avjax.types import NotApplicable


def make(
    num_negatives: tuple[int, ...], temperature: float, records: int = 1024, seed: int = 0
) -> Callable[[Features | None, Features], dict[str, float]]:
    """Cosine of the gradients of the queries with K random and with all other records.

    The gradients are those of InfoNCE, video to audio, with respect to the video embeddings of
    all records, as one vector.

    Args:
      num_negatives: the values of K, each less than the records.
      temperature: divisor of the scores.
      records: so many of the first test records, or all if there are fewer.
      seed: of the random negatives.

    Returns:
      A score (train, test) -> {"cosine@K": cosine} for avjax.evals.suite.

    Raises:
      ValueError: an argument is out of its range.
    """
    for k in num_negatives:
        ranges.check_integer("num_negatives", k, 1, records - 1)
    ranges.check_number("temperature", temperature, above=0)

    def score(train, test):
        size = min(records, len(test.label))
        if size <= max(num_negatives):
            raise NotApplicable(f"needs more than {max(num_negatives)} records, there are {size}")
        if not test.modalities:  # Only what is known before training.
            return {}
        if {"video", "audio"} - test.modalities.keys():
            raise NotApplicable("needs video and audio")
        video, audio = (
            np.asarray(test.modalities[m]["embedding"][:size], np.float64)
            for m in ("video", "audio")
        )
        rank = np.random.default_rng(seed).random((size, size))
        np.fill_diagonal(rank, 2.0)  # A record is no negative of its own.
        rank = rank.argsort(1).argsort(1)
        full = query_gradient(video, audio, rank < size - 1, temperature)
        found = {k: query_gradient(video, audio, rank < k, temperature) for k in num_negatives}
        return {f"cosine@{k}": _cosine(gradient, full) for k, gradient in found.items()}

    return score


def query_gradient(
    query: np.ndarray, key: np.ndarray, mask: np.ndarray, temperature: float
) -> np.ndarray:
    """Gradient of the mean InfoNCE with respect to the queries.

    Args:
      query, key: float [N, D].
      mask: bool [N, N], which keys are negatives of which queries.
      temperature: divisor of the scores.

    Returns:
      float [N, D].
    """
    scores = np.where(mask | np.eye(len(mask), dtype=bool), query @ key.T / temperature, -np.inf)
    share = np.exp(scores - scores.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    return (share @ key - key) / (temperature * len(query))


def _cosine(a, b):
    return float(np.vdot(a, b) / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-300))
