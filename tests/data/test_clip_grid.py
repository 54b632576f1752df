"""Clips at equal distances that begin together for nets of different clips."""

import numpy as np
import pytest

from avjax.config.build import build
from avjax.data import clip_grid
from avjax.data.media.media_file import Info, MediaError


def info(seconds, start=0.0):
    end = start + seconds
    return Info(start, end, start + 0.01, end - 0.05, 8.0, 32, 32, 8000)


def starts(seconds, start=0.0, **how):
    how = dict(num_frames=1, fps=8.0, audio_seconds=1.0, sample_rate=8000, clip_seconds=2.0) | how
    return clip_grid.from_starts(**how).sample(info(seconds, start), None)


def test_one_frame_and_sixteen_begin_at_the_same_times():
    pairs = starts(9.0)
    assert pairs == starts(9.0, num_frames=16, audio_seconds=0.5)
    np.testing.assert_allclose(pairs, np.repeat(0.01 + 2 * np.arange(4), 2).reshape(4, 2))
    np.testing.assert_allclose(starts(4.0, start=5.0), [[5.01] * 2, [7.01] * 2])


def test_longer_records_have_evenly_spaced_clips():
    assert len(starts(7200.0)) == 3600
    found = np.array(starts(7200.0, max_clips=90))[:, 0]
    np.testing.assert_allclose(np.diff(found), 80)
    assert len(found) == 90 and found[0] == 0.01


def test_record_shorter_than_a_clip_is_named_and_a_missing_end_is_allowed():
    with pytest.raises(MediaError) as error:
        starts(1.5)
    assert "shorter than one clip: 1.44 s of 2 s" in error.value.reason
    assert len(starts(1.95)) == 1  # Streams of a file of 2 s rarely end together.


def test_frames_longer_than_a_clip_are_refused_and_a_run_may_name_it():
    with pytest.raises(ValueError, match="clip_seconds=2: use at least 2.5"):
        starts(9.0, num_frames=20)
    spec = dict(fn="avjax.data.clip_grid.from_starts", num_frames=1, fps=8.0, audio_seconds=1.0,
                sample_rate=8000, clip_seconds=1.0)  # fmt: skip
    assert build(spec, "clip_sampler", trust=()).varies
