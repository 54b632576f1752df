"""Statistics of the audio do not depend on the length of the segments that are written."""

import numpy as np
import pytest

from avjax.data.prepare import content_checks

RATE = 8000


def statistics(waveform, lengths):
    contents = content_checks.Contents()
    for part in np.split(waveform, np.cumsum(lengths)[:-1]):
        content_checks.add_audio(contents, part, RATE)
    content_checks.findings(contents)
    return contents.audio


@pytest.mark.parametrize("seconds", [(3, 3, 4), (2.5, 2.5, 2.5, 2.5), (1,) * 10])
def test_audio_statistics_are_those_of_ten_seconds(seconds):
    waveform = np.random.default_rng(0).normal(0, 3000, 10 * RATE).astype(np.int16)
    whole = statistics(waveform, [len(waveform)])
    assert len(whole) == 1
    assert statistics(waveform, [round(s * RATE) for s in seconds]) == whole


def test_short_rest_counts_only_alone():
    waveform = np.random.default_rng(0).normal(0, 3000, 23 * RATE).astype(np.int16)
    assert len(statistics(waveform, [3 * RATE] * 7 + [2 * RATE])) == 2  # 12 s, and 9 + 2 s.
    assert len(statistics(waveform[: 15 * RATE], [3 * RATE] * 5)) == 1  # 12 s; 3 s are left.
    assert len(statistics(waveform[: 3 * RATE], [3 * RATE])) == 1
