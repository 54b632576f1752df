"""Metrics that several evaluators and reports share."""

import numpy as np


def l2_normalize(x: np.ndarray) -> np.ndarray:
    """Rows of x [..., D] scaled to unit length; a row shorter than 1e-12 is divided by 1e-12."""
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def accuracy(scores: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """Top-1 and, of more than five classes, top-5 accuracy.

    Args:
      scores: float [N, C]; -inf for classes that never count.
      label: int [N].

    Returns:
      {"top1", "top5"} in percent.  Ties count by their expected value in a random order.
    """
    at = (1, 5) if scores.shape[1] > 5 else (1,)
    return {f"top{k}": 100 * float(hits(scores, label, k).mean()) for k in at}


def hits(scores: np.ndarray, label: np.ndarray, k: int) -> np.ndarray:
    """Whether each row's own class is among its k highest scores.

    Args:
      scores: float [N, C]; -inf for classes that never count.
      label: int [N].
      k: number of scores.

    Returns:
      float [N], 0 or 1; in between for ties, their expected value in a random order.
    """
    own = scores[np.arange(len(label)), label][:, None]
    greater, equal = (scores > own).sum(1), (scores == own).sum(1) - 1
    return np.where(np.isfinite(own[:, 0]), np.clip((k - greater) / (1 + equal), 0, 1), 0)


def class_average_precision(scores: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Average precision of each class: its records against all others, by their scores for it.

    That is `sklearn.metrics.average_precision_score` of each column; equal scores enter together.

    Args:
      scores: float [N, C].
      label: int [N].

    Returns:
      float64 [C], 0 to 1; NaN for classes without records.
    """
    out = np.full(scores.shape[1], np.nan)
    for c in np.unique(label):
        own, every = np.sort(scores[label == c, c]), np.sort(scores[:, c])
        hits = len(own) - np.searchsorted(own, own)
        out[c] = (hits / (len(every) - np.searchsorted(every, own))).mean()
    return out


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Area under the ROC curve: P(positive score > negative score), of ties half.

    Args:
      positive: float [N].
      negative: float [M].

    Returns:
      0.5 for chance, 1 if every positive scores above every negative.
    """
    ordered = np.sort(negative)
    below = [np.searchsorted(ordered, positive, side=side) for side in ("left", "right")]
    return float(np.mean(below) / len(negative))


def margin_scores(
    video: np.ndarray, audio: np.ndarray, top_fraction: float = 0.05, max_candidates: int = 4096
) -> np.ndarray:
    """Agreement of video and audio of each record: cosine above that of the best mismatches.

    The cosine of a record's own pair minus the mean of the highest ones of its video with others'
    audio and of its audio with others' video.  Above 0, a record's own audio matches better than
    the best mismatches on average.  A bare cosine would call those videos dubbed that are far from
    all audio.  Used for translation as CSLS: https://arxiv.org/abs/1710.04087.

    Args:
      video, audio: float [N, D] of unit length.
      top_fraction: share of mismatches whose mean is subtracted.
      max_candidates: if there are more records, so many evenly spaced ones stand for all.

    Returns:
      float [N].

    Raises:
      ValueError: fewer than three records, or different shapes.
    """
    n = len(video)
    if n < 3:
        raise ValueError(f"agreement of {n} records: at least three are needed")
    if video.shape != audio.shape:
        raise ValueError(
            f"agreement of video {video.shape} and audio {audio.shape}: cosines need embeddings "
            "of equal width in a shared space"
        )
    chosen = np.unique(np.linspace(0, n - 1, min(n, max_candidates)).astype(int))
    count = max(1, round(top_fraction * (len(chosen) - 1)))
    own = np.einsum("nd,nd->n", video, audio)
    ways = (video, audio), (audio, video)
    rivals = sum(mean_top_cosine(one, other[chosen], chosen, count) for one, other in ways)
    return own - rivals / 2


def mean_top_cosine(
    query: np.ndarray, keys: np.ndarray, chosen: np.ndarray, count: int, rows: int = 2048
) -> np.ndarray:
    """Mean of the `count` highest cosines of each query with the keys of other records.

    Args:
      query: float [N, D].
      keys: float [K, D].
      chosen: int [K], records of the keys.
      count: cosines per mean.
      rows: queries at a time.

    Returns:
      float [N].
    """
    out = np.empty(len(query), np.float32)
    for start in range(0, len(query), rows):
        block = np.arange(start, min(start + rows, len(query)))
        cosine = np.where(block[:, None] == chosen, -np.inf, query[block] @ keys.T)
        out[block] = np.partition(cosine, -count, axis=1)[:, -count:].mean(1)
    return out
