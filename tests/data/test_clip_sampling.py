import numpy as np
import pytest

from avjax.data import clip_reading, clip_sampling, clip_times, pipeline
from avjax.data.datasets import decoded_cache
from avjax.data.media import video as media_video
from avjax.data.media.media_file import Info, MediaError
from avjax.data.source import Source
from avjax.data.transforms import audio
from tests.data import flashes
from tests.data.datasets.test_shards import prepared


def info(video=(0.0, 10.0), audio=(0.0, 10.0)):
    return Info(*(video or (None, None)), *(audio or (None, None)), 25.0, 64, 48, 48000)


def draws(sampler, info, count=2000):
    rng = np.random.default_rng(0)
    return np.array([sampler.sample(info, rng)[0] for _ in range(count)]).T


def test_random_clips_are_within_the_streams():
    sampler = clip_sampling.random(8, 16, 2.0, 24000)
    assert (sampler.num_samples, sampler.num_clips) == (48000, 1)
    video, audio = draws(sampler, info((0.3, 9.0), (0.5, 8.0)))
    assert audio.min() >= 0.5 and audio.max() <= 6.0
    assert video.min() >= 0.3 and video.max() <= 8.5
    assert audio.max() - audio.min() > 5.4  # They use the whole of it.


def test_frames_are_within_max_offset_of_audio():
    video, audio = draws(clip_sampling.random(8, 16, 2.0, 24000, max_offset_seconds=0.5), info())
    away = video - audio
    assert -0.5 <= away.min() < -0.4 and 1.9 < away.max() <= 2.0  # 2 s + 0.5 s - 8 frames.


def test_without_offset_frames_are_inside_audio():
    video, audio = draws(clip_sampling.random(8, 16, 2.0, 24000, max_offset_seconds=0.0), info())
    assert np.all(video >= audio) and np.all(video + 0.5 <= audio + 2.0 + 1e-9)


def test_file_shorter_than_clip_starts_at_its_start():
    assert clip_sampling.random(8, 16, 2.0, 24000, max_offset_seconds=0.0).sample(
        info((0.2, 0.5), (0.1, 1.0)), np.random.default_rng(0)
    ) == [(0.2, 0.2)]
    even = clip_sampling.uniform(8, 16, 2.0, 24000, num_clips=3).sample(
        info((0.0, 1.0), (0.0, 1.0)), None
    )
    assert even == [(0.75, 0.0)] * 3


def test_uniform_clips_span_the_common_range():
    sampler = clip_sampling.uniform(8, 16, 2.0, 24000, num_clips=5)
    video, audio = np.array(sampler.sample(info((1.0, 10.0), (0.0, 9.0)), None)).T
    np.testing.assert_allclose(audio, [1.0, 2.5, 4.0, 5.5, 7.0])
    np.testing.assert_allclose(video - audio, 0.75)  # The middle half second of two.


@pytest.mark.parametrize("count", [1, 3, 5])
def test_middle_of_uniform_clips_is_the_single_clip(count):
    windows = clip_sampling.uniform(8, 16, 2.0, 24000, count).sample(info((1, 10), (0, 9)), None)
    # What is shared, 1 ... 9 s, has its middle at 5 s.
    assert len(windows) == count and windows[count // 2] == (4.75, 4.0)


def test_single_clip_of_one_stream_is_centered():
    assert (
        clip_sampling.uniform(8, 16, 0.0, 24000, 1).sample(info((1, 9), None), None)[0][0] == 4.75
    )
    assert clip_sampling.uniform(0, 16, 2.0, 24000, 1).sample(info(None, (1, 9)), None)[0][1] == 4.0
    short = info((0.0, 1.0), (0.0, 1.0))
    assert clip_sampling.uniform(8, 16, 2.0, 24000, 1).sample(short, None) == [(0.75, 0.0)]


def test_uniform_clips_center_short_audio_in_long_video():
    video, audio = np.array(
        clip_sampling.uniform(32, 16, 1.0, 24000, num_clips=2).sample(info(), None)
    ).T
    np.testing.assert_allclose(video, [0.0, 8.0])
    np.testing.assert_allclose(audio, [0.5, 8.5])


@pytest.mark.parametrize("missing", ["video", "audio"])
def test_missing_stream_is_no_constraint(missing):
    streams = info(**{missing: None})
    for sampler in (
        clip_sampling.random(8, 16, 2.0, 24000),
        clip_sampling.uniform(8, 16, 2.0, 24000, num_clips=1),
    ):
        (window,) = sampler.sample(streams, np.random.default_rng(0))
        assert all(-0.5 <= start <= 9.5 for start in window)


def test_unrequested_stream_is_no_constraint():
    short = info(video=(0.0, 10.0), audio=(0.0, 0.5))
    assert draws(clip_sampling.random(8, 16, 0.0, 24000), short)[0].max() > 9.0
    short = info(video=(0.0, 0.1), audio=(0.0, 10.0))
    assert draws(clip_sampling.random(0, 16, 2.0, 24000), short)[1].max() > 7.0


def test_sampling_is_deterministic_in_random_numbers():
    sampler = clip_sampling.random(8, 16, 2.0, 24000)
    one, two = (sampler.sample(info(), np.random.default_rng(7)) for _ in range(2))
    assert one == two


def test_equal_length_frames_and_audio_are_aligned():
    video, audio = draws(
        clip_sampling.random(25, 25, 1.0, 16000, max_offset_seconds=0.0),
        info((0.4, 9.0), (0.9, 9.5)),
    )
    np.testing.assert_allclose(video, audio)


def test_clips_of_one_file_are_sampled_independently():
    one, three = (clip_sampling.random(8, 16, 2.0, 24000, num_clips=count) for count in (1, 3))
    assert (one.num_clips, three.num_clips) == (1, 3)
    rng = np.random.default_rng(3)
    drawn = three.sample(info(), np.random.default_rng(3))
    assert drawn == [one.sample(info(), rng)[0] for _ in range(3)]
    assert len(set(drawn)) == 3


@pytest.mark.parametrize(
    "seconds, stride, starts",
    [(0.3, None, [0]), (0.64, None, [0]), (0.68, None, [0, 0.64]), (1.28, None, [0, 0.64]),
     (1.29, None, [0, 0.64, 1.28]), (0.8, 0.16, [0, 0.16]), (0.81, 0.16, [0, 0.16, 0.32])],
)  # fmt: skip
def test_sliding_clips_cover_the_file(seconds, stride, starts):
    sampler = clip_sampling.sliding(16, 25.0, 0.0, 24000, stride)
    assert sampler.varies and sampler.num_clips == 1
    found = sampler.sample(info((1.0, 1.0 + seconds), None), None)
    np.testing.assert_allclose([video for video, _ in found], 1.0 + np.array(starts))


def test_sliding_clips_of_both_streams_share_their_centers():
    sampler = clip_sampling.sliding(8, 16, 2.0, 24000)
    video, audio = np.array(sampler.sample(info((1.0, 10.0), (0.0, 6.0)), None)).T
    np.testing.assert_allclose(audio, [1.0, 3.0, 5.0])
    np.testing.assert_allclose(video - audio, 0.75)


@pytest.mark.parametrize("stride", [0.0, -1.0, 0.65])
def test_sliding_clips_that_do_not_cover_the_file_are_refused(stride):
    with pytest.raises(ValueError, match=f"stride_seconds={stride}: use more than 0 and at most"):
        clip_sampling.sliding(16, 25.0, 0.0, 24000, stride)


HARD, SUPER = (1.5, None), (0.5, 0.5)  # For sound of one second.


def pairs(min_max_shift, info, frames=25, fps=25, count=4000):
    """[3, count] starts of the frames, of the sound and of the shifted sound."""
    return draws(
        clip_sampling.with_shifted_audio(frames, fps, 1.0, 16000, min_max_shift), info, count
    )


@pytest.mark.parametrize("min_max_shift", [HARD, SUPER, (0.2, 0.8), (1.5, 3.0)])
def test_shifted_audio_is_within_min_max_shift(min_max_shift):
    video, audio, shifted = pairs(min_max_shift, info())
    np.testing.assert_array_equal(video, audio)
    apart = np.abs(shifted - audio)
    high = 9.0 if min_max_shift[1] is None else min_max_shift[1]
    assert apart.min() >= min_max_shift[0] - 1e-9 and apart.max() <= high + 1e-9
    assert apart.max() - apart.min() >= 0.9 * (high - min_max_shift[0])
    assert 0.45 < np.mean(shifted > audio) < 0.55


def test_hard_negatives_do_not_overlap_and_super_hard_ones_do():
    apart = np.abs(np.diff(pairs(HARD, info())[1:], axis=0))
    assert apart.min() - 1.0 >= 0.5 - 1e-9
    apart = np.abs(np.diff(pairs(SUPER, info())[1:], axis=0))
    np.testing.assert_allclose(apart, 0.5)
    samples = np.diff(np.round(pairs(SUPER, info())[1:] * 16000), axis=0)
    assert set(np.abs(samples).ravel()) == {8000}


@pytest.mark.parametrize("min_max_shift", [HARD, SUPER, (0.2, 0.8)])
@pytest.mark.parametrize("end", [2.6, 4.0, 10.0])
def test_audio_position_does_not_reveal_matching(min_max_shift, end):
    """The two sounds of a pair have the same distribution, at the ends of the file too."""
    _, audio, shifted = pairs(min_max_shift, info((0.0, end), (0.0, end)), count=20000)
    bins = np.linspace(0.0, end - 1.0, 9)
    one, two = (np.histogram(starts, bins)[0] for starts in (audio, shifted))
    assert np.abs(one - two).max() < 5 * np.sqrt(2 * one.max())


def test_allowed_shifts_are_uniform():
    """Against pairs drawn at random and kept if they are far enough apart."""
    rng = np.random.default_rng(1)
    kept = rng.random((2, 60000)) * 4.0
    apart = kept[1] - kept[0]
    kept = kept[:, (np.abs(apart) >= 1.5) & (np.abs(apart) <= 2.5)]
    drawn = pairs((1.5, 2.5), info((0.0, 5.0), (0.0, 5.0)), count=kept.shape[1])[1:]
    bins = np.linspace(0.0, 4.0, 9)
    one, two = (np.histogram2d(*starts, bins=(bins, bins))[0] for starts in (kept, drawn))
    assert np.abs(one - two).max() < 5 * np.sqrt(2 * one.max())


def test_shifted_clips_are_within_both_streams():
    for frames, fps in ((25, 25), (8, 16), (64, 16)):  # As long as the sound, shorter, longer.
        video, audio, shifted = pairs((0.5, None), info((0.4, 9.0), (0.9, 9.5)), frames, fps)
        length = frames / fps
        np.testing.assert_allclose(video + length / 2, audio + 0.5)  # The same middle.
        for starts, seconds in ((video, length), (audio, 1.0), (shifted, 1.0)):
            assert starts.min() >= 0.9 - 1e-9 and starts.max() + seconds <= 9.0 + 1e-9
        assert video.min() < 1.3 or audio.min() < 1.0  # And use all of it.


def test_file_too_short_for_shift_raises_media_error():
    sampler = clip_sampling.with_shifted_audio(25, 25, 1.0, 16000, HARD)
    assert len(sampler.sample(info((0.0, 2.5), (0.0, 2.5)), np.random.default_rng(0))[0]) == 3
    with pytest.raises(MediaError, match=r"share 2.400 s, and clips 1.5 s apart take 2.5 s"):
        sampler.sample(info((0.0, 9.0), (0.0, 2.4)), np.random.default_rng(0))


BOTH = dict(min_max_shift=HARD, overlap_shift=0.5)


def triples(end, count=4000, **offsets):
    """[4, count] starts of the frames and of the three sounds."""
    sampler = clip_sampling.with_shifted_audio(25, 25, 1.0, 16000, **{**BOTH, **offsets})
    return draws(sampler, info((0.0, end), (0.0, end)), count)


def test_both_kinds_of_shifted_audio_are_within_their_ranges():
    for min_max_shift, high in ((HARD, 9.0), ((1.5, 3.0), 3.0)):
        video, audio, shifted, overlapping = triples(10.0, min_max_shift=min_max_shift)
        np.testing.assert_array_equal(video, audio)
        np.testing.assert_allclose(np.abs(overlapping - audio), 0.5)
        apart = np.abs(shifted - audio)
        assert apart.min() >= 1.5 - 1e-9 and apart.max() <= high + 1e-9
        assert apart.max() - apart.min() > 0.8 * (high - 1.5)
        assert 0.45 < np.mean(overlapping > audio) < 0.55


@pytest.mark.parametrize("end", [3.6, 4.0, 10.0])
def test_audio_position_does_not_reveal_its_kind(end):
    _, *sounds = triples(end, count=20000)
    bins = np.linspace(0.0, end - 1.0, 9)
    for sound in sounds:
        assert sound.min() >= 0 and sound.max() + 1.0 <= end + 1e-9
    one, *others = (np.histogram(starts, bins)[0] for starts in sounds)
    for other in others:
        assert np.abs(one - other).max() < 5 * np.sqrt(2 * one.max())


def test_overlapping_audio_changes_nothing_unless_requested():
    old = clip_sampling.with_shifted_audio(25, 25, 1.0, 16000, HARD).sample(
        info(), np.random.default_rng(5)
    )
    assert len(old[0]) == 3
    first, second = clip_times.sample_pair(np.random.default_rng(5), 9.0, 1.5, np.inf)
    assert old == [(first, first, second)]


def test_overlapping_audio_must_fit_and_overlap():
    with pytest.raises(MediaError, match=r"clips 2.5 s apart take 3.5 s"):
        triples(3.4, count=1)
    for offsets in (
        dict(overlap_shift=1.0),
        dict(overlap_shift=0.0),
        dict(min_max_shift=(1.5, 2.0)),
    ):
        with pytest.raises(ValueError, match="overlap_shift="):
            triples(10.0, **offsets)


def test_invalid_shifts_are_refused():
    for min_max_shift in ((0.0, 1.0), (2.0, 1.0), (-1.0, None)):
        with pytest.raises(ValueError, match="min_max_shift="):
            clip_sampling.with_shifted_audio(25, 25, 1.0, 16000, min_max_shift)
    with pytest.raises(ValueError, match="audio_seconds=0.0"):
        clip_sampling.with_shifted_audio(25, 25, 0.0, 16000, HARD)


def test_every_sampler_passes_its_channels():
    for channels in (1, 2):
        for sampler in (
            clip_sampling.random(8, 16, 1.0, 16000, channels=channels),
            clip_sampling.uniform(8, 16, 1.0, 16000, num_clips=1, channels=channels),
            clip_sampling.with_shifted_audio(8, 16, 1.0, 16000, HARD, channels=channels),
        ):
            assert sampler.channels == channels
            assert clip_reading.silent_audio(sampler).shape == ((16000,), (16000, 2))[channels - 1]


def test_shifted_clip_has_audio_of_another_time(tmp_path):
    kind = flashes.Kind("mkv", rate=16000, sound="flac", audio_start=0.5)
    truth = flashes.render(tmp_path / "a.mkv", kind)
    sampler, rng, heard = (
        clip_sampling.with_shifted_audio(50, 50, 1.0, 16000, **BOTH),
        np.random.default_rng(0),
        0,
    )
    with media_video.open_media(tmp_path / "a.mkv") as media:
        for _ in range(12):
            window = sampler.sample(media.info, rng)[0]
            clip = clip_reading.read_clip(
                sampler,
                window,
                lambda start: media_video.read_frames(media, start, 50, 50),
                lambda start: media_video.read_audio(media, start, 16000, 16000),
            )
            assert list(clip) == ["video", "audio", "shifted", "overlapping"]
            for name, start in zip(clip_reading.AUDIO_KEYS, window[1:]):
                loud = start + np.flatnonzero(np.abs(clip[name].astype(int)) > 5000) / 16000
                for click in truth.clicks:
                    if start + 0.01 < click < start + 0.99:
                        assert np.abs(loud - click).min() < 0.001
                        heard += 1
    assert heard > 12


def test_files_too_short_for_shift_are_counted_and_replaced(tmp_path):
    records, faults = [], []
    for name, cut in (("long.mp4", 0.0), ("short.mp4", 2.0)):
        flashes.render(tmp_path / name, flashes.Kind("mp4", cut=cut))
        records.append({"path": str(tmp_path / name)})
    sampler = clip_sampling.with_shifted_audio(25, 25, 1.0, 16000, HARD)
    batches = pipeline.train_batches(
        Source("two", tuple(records)), sampler, (), 2, seed=0, stop=2, workers=0,
        on_error=lambda path, reason: faults.append(reason),
    )  # fmt: skip
    for batch in batches:
        assert np.all(batch["index"] == 0) and batch["shifted"].shape == (2, 16000)
    assert len(faults) == 1 and "is too short" in faults[0]


@pytest.fixture(scope="module")
def same_file(tmp_path_factory):
    """One file with audio from 0.5 s on: read directly, from the decoded cache, from shards."""
    tmp_path = tmp_path_factory.mktemp("same")
    root = tmp_path / "files"
    root.mkdir()
    kind = flashes.Kind("mkv", rate=16000, sound="flac", audio_start=0.5)
    flashes.render(root / "a.mkv", kind)
    source = Source("tiny/all", ({"path": str(root / "a.mkv"), "label": 0},), ("a",))
    kept = decoded_cache.make(source, fps=25, sample_rate=16000, root=str(tmp_path / "memory"))
    return source, kept, prepared(tmp_path / "shards", source, root)


@pytest.mark.parametrize("start", [-3.0, -0.2, 0.4, 1.0, "end - 0.1", "end + 0.1", 30.0])
def test_audio_outside_of_the_stream_is_silence(same_file, start):
    """Clips before, across and after both ends, as of a sampler that knows other times."""
    if isinstance(start, str):
        with media_video.open_media(same_file[0][0]["path"]) as media:
            start = media.info.audio_end + float(start[3:].replace(" ", ""))
    sampler = clip_sampling.uniform(1, 25, 0.8, 16000, num_clips=1)
    sampler = sampler._replace(num_frames=0, sample=lambda info, rng: [(start, start)])
    one, *others = (
        next(pipeline.eval_batches(s, sampler, (), 1, workers=0))["audio"] for s in same_file
    )
    assert np.any(one) == (start in (0.4, 1.0))  # Between clicks there is silence.
    for other in others:
        np.testing.assert_allclose(one, other, atol=4)


def test_audio_is_equal_from_files_shards_and_decoded_cache(same_file):
    sampler = clip_sampling.with_shifted_audio(
        6, 25, 0.8, 16000, (1.0, None), overlap_shift=0.3, num_clips=3
    )
    one, *others = (
        next(pipeline.eval_batches(s, sampler, (audio.random_gain(),), 3, workers=0))
        for s in same_file
    )
    for other in others:
        for name in clip_reading.AUDIO_KEYS:
            np.testing.assert_allclose(one[name], other[name], atol=4)
    apart = one["audio"].astype(int) - one["shifted"], one["audio"].astype(int) - one["overlapping"]
    assert all(np.abs(x).max() > 5000 for x in apart)
