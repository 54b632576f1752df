"""How well each record's sound fits its picture, measured by how those of others would."""

import numpy as np


def clips(video, audio, near: float = 0.05, partners: int = 4096):
    """The agreement [N] of picture and sound of N records, embeddings [N, D] of unit length.

    By how much the cosine of a record's own two is above the mean of the `near` share of highest
    ones, of its picture with others' sounds and of its sound with others' pictures; the mean of
    both.  Above 0, the own sound is a better match than the best of strangers, on average.  A
    bare cosine would call those pictures dubbed that are far from every sound.  A measure of
    this kind is used in translation between languages: https://arxiv.org/abs/1710.04087.

    partners: of more records, that many stand for all, evenly spaced.
    """
    n = len(video)
    if n < 3:
        raise ValueError(f"agreement of {n} records: three are needed, two to compare one with")
    if video.shape != audio.shape:
        raise ValueError(
            f"agreement of video {video.shape} and audio {audio.shape}: cosines need embeddings "
            "of one width, in a space that both share"
        )
    chosen = np.unique(np.linspace(0, n - 1, min(n, partners)).astype(int))
    count = max(1, round(near * (len(chosen) - 1)))
    own = np.einsum("nd,nd->n", video, audio)
    ways = (video, audio), (audio, video)
    rivals = sum(nearest(one, other[chosen], chosen, count) for one, other in ways)
    return own - rivals / 2


def nearest(query, keys, chosen, count: int, rows: int = 2048):
    """The mean of the `count` highest cosines of each of `query` [N, D] with `keys` of others.

    keys: [K, D], those of the records `chosen` [K].
    """
    out = np.empty(len(query), np.float32)
    for start in range(0, len(query), rows):
        here = np.arange(start, min(start + rows, len(query)))
        cosine = np.where(here[:, None] == chosen, -np.inf, query[here] @ keys.T)
        out[here] = np.partition(cosine, -count, axis=1)[:, -count:].mean(1)
    return out
