"""Selections of the clips of long videos, and what a classifier of clips makes of them.

V videos have up to N clips; a selection is a bool [V, N].  Their classes are those with the highest
mean probability over the selected clips.
"""

from collections.abc import Mapping

import numpy as np

from avjax.evals import metrics


def evenly(counts: np.ndarray, total: int, k: int) -> np.ndarray:
    """Selects the clips in the middles of k equal parts of each video.

    Args:
      counts: int [V], clips of each video.
      total: N.
      k: clips to select; of videos with fewer all.
    """
    k_of = np.minimum(k, counts)[:, None]
    at = np.arange(min(k, total))
    rows = ((at + 0.5) * counts[:, None] / np.maximum(k_of, 1)).astype(int)
    out = np.zeros((len(counts), total), bool)
    video, column = np.nonzero(at < k_of)
    out[video, rows[video, column]] = True
    return out


def every(counts: np.ndarray, total: int, distance: int) -> np.ndarray:
    """Selects clips 0, distance, 2 * distance ...; Args: as of `evenly`."""
    at = np.arange(total)
    return (at % distance == 0) & (at < counts[:, None])


def highest(scores: np.ndarray, counts: np.ndarray, k: int) -> np.ndarray:
    """Selects the k clips with the highest scores, the first of equal ones.

    Args:
      scores: float [V, N].
      counts, k: as of `evenly`.
    """
    valid = np.arange(scores.shape[1]) < counts[:, None]
    order = np.argsort(np.where(valid, -scores, np.inf), axis=1, kind="stable")[:, :k]
    out = np.zeros(scores.shape, bool)
    np.put_along_axis(out, order, True, axis=1)
    return out & valid


def random_scores(videos: np.ndarray, total: int, seed: int) -> np.ndarray:
    """Returns uniform scores [V, N] that depend on seed and video only.

    Args:
      videos: int [V], numbers of the videos.
      total: N.
      seed: 0 or more.
    """
    return np.stack([np.random.default_rng([seed, int(v)]).random(total) for v in videos])


def skimming_scores(attention: Mapping[str, np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Scores of clips in the order in which a skimming net selects them.

    First come the clips that had the highest mixed attention in a step, earlier steps first, then
    the others by their mean attention.

    Args:
      attention: {modality: float [V, T, N]}.
      weights: float [V, T, M], of the modalities, in order.

    Returns:
      float [V, N], the mean attention plus, for the first kind, T to 1.
    """
    mixed = mix(attention, weights)
    steps = mixed.shape[1]
    out, picked = mixed.mean(1), mixed.argmax(2)
    first = np.zeros_like(out)
    for step in reversed(range(steps)):
        np.put_along_axis(first, picked[:, step, None], steps - step, axis=1)
    return out + first


def mix(attention: Mapping[str, np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Returns the attention of all modalities together, [V, T, N]; Args: see `skimming_scores`."""
    return sum(
        (weights[:, :, i, None] * attention[name] for i, name in enumerate(attention)),
        np.zeros(()),
    )


def scores(
    selected: np.ndarray, probability: np.ndarray, label: np.ndarray, moments: np.ndarray | None
) -> dict[str, float]:
    """Returns what a classifier of clips makes of a selection.

    Args:
      selected: bool [V, N], at least one clip of each video.
      probability: float [V, N, C].
      label: int [V].
      moments: bool [V, N], the clips that tell the class; None if unknown.

    Returns:
      "accuracy" and "map", mean of the average precision of classes, in percent; "clips", the mean
      number that is selected; "hits", the share of them among `moments`, in percent.
    """
    weight = selected / np.maximum(selected.sum(1, keepdims=True), 1)
    mean = np.einsum("vn,vnc->vc", weight, probability)
    out = video_scores(mean, label) | {"clips": float(selected.sum(1).mean())}
    if moments is not None:
        out["hits"] = 100 * float((weight * moments).sum(1).mean())
    return out


def video_scores(probability: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Returns accuracy and mean average precision of videos in percent.

    Args:
      probability: float [V, C].
      label: int [V].
    """
    precision = metrics.class_average_precision(probability, label)
    top1 = metrics.accuracy(probability, label)["top1"]
    return {"accuracy": top1, "map": 100 * float(np.nanmean(precision))}
