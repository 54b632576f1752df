import numpy as np
import pytest

from avjax.data import clips
from avjax.data.media import Info


def info(video=(0.0, 10.0), audio=(0.0, 10.0)):
    return Info(*(video or (None, None)), *(audio or (None, None)), 25.0, 64, 48, 48000)


def draws(view, info, count=2000):
    rng = np.random.default_rng(0)
    return np.array([view.windows(info, rng)[0] for _ in range(count)]).T


def test_random_windows_lie_within_the_streams():
    view = clips.random(8, 16, 2.0, 24000)
    assert (view.samples, view.count) == (48000, 1)
    video, audio = draws(view, info((0.3, 9.0), (0.5, 8.0)))
    assert audio.min() >= 0.5 and audio.max() <= 6.0
    assert video.min() >= 0.3 and video.max() <= 8.5
    assert audio.max() - audio.min() > 5.4  # They use the whole of it.


def test_frames_are_at_most_the_slack_away_from_the_sound():
    video, audio = draws(clips.random(8, 16, 2.0, 24000, slack=0.5), info())
    away = video - audio
    assert -0.5 <= away.min() < -0.4 and 1.9 < away.max() <= 2.0  # 2 s + 0.5 s - 8 frames.


def test_without_slack_the_frames_are_inside_the_sound():
    video, audio = draws(clips.random(8, 16, 2.0, 24000, slack=0.0), info())
    assert np.all(video >= audio) and np.all(video + 0.5 <= audio + 2.0 + 1e-9)


def test_a_file_shorter_than_the_window_starts_at_its_start():
    assert clips.random(8, 16, 2.0, 24000, slack=0.0).windows(
        info((0.2, 0.5), (0.1, 1.0)), np.random.default_rng(0)
    ) == [(0.2, 0.2)]
    even = clips.even(8, 16, 2.0, 24000, count=3).windows(info((0.0, 1.0), (0.0, 1.0)), None)
    assert even == [(0.75, 0.0)] * 3


def test_even_windows_span_what_both_streams_share():
    view = clips.even(8, 16, 2.0, 24000, count=5)
    video, audio = np.array(view.windows(info((1.0, 10.0), (0.0, 9.0)), None)).T
    np.testing.assert_allclose(audio, [1.0, 2.5, 4.0, 5.5, 7.0])
    np.testing.assert_allclose(video - audio, 0.75)  # The middle half second of two.


def test_even_windows_put_short_sound_amid_long_pictures():
    video, audio = np.array(clips.even(32, 16, 1.0, 24000, count=2).windows(info(), None)).T
    np.testing.assert_allclose(video, [0.0, 8.0])
    np.testing.assert_allclose(audio, [0.5, 8.5])


@pytest.mark.parametrize("missing", ["video", "audio"])
def test_a_missing_stream_binds_nothing(missing):
    streams = info(**{missing: None})
    for view in (clips.random(8, 16, 2.0, 24000), clips.even(8, 16, 2.0, 24000, count=1)):
        (window,) = view.windows(streams, np.random.default_rng(0))
        assert all(-0.5 <= start <= 9.5 for start in window)


def test_a_stream_not_asked_for_binds_nothing():
    short = info(video=(0.0, 10.0), audio=(0.0, 0.5))
    assert draws(clips.random(8, 16, 0.0, 24000), short)[0].max() > 9.0
    short = info(video=(0.0, 0.1), audio=(0.0, 10.0))
    assert draws(clips.random(0, 16, 2.0, 24000), short)[1].max() > 7.0


def test_the_same_numbers_give_the_same_window():
    view = clips.random(8, 16, 2.0, 24000)
    one, two = (view.windows(info(), np.random.default_rng(7)) for _ in range(2))
    assert one == two
