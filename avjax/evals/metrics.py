"""How well each record's audio fits its frames, relative to that of other records."""

import numpy as np


def margin_scores(video, audio, top_fraction: float = 0.05, max_candidates: int = 4096):
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


def mean_top_cosine(query, keys, chosen, count: int, rows: int = 2048):
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
        here = np.arange(start, min(start + rows, len(query)))
        cosine = np.where(here[:, None] == chosen, -np.inf, query[here] @ keys.T)
        out[here] = np.partition(cosine, -count, axis=1)[:, -count:].mean(1)
    return out
