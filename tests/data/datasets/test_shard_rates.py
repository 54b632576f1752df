"""What clips may ask of shards: frame rates and sampling rates other than those that are kept."""

import logging

import numpy as np
import pytest

from avjax.data.clip_sampling import ClipSampler
from avjax.data.datasets import shards
from tests.data.datasets.test_shards import FPS, prepared, read, source_of
from tests.data.media.test_video import click, number, numbered, render

LONG = 3.6  # Seconds of sound; its frames are at 25 per second.


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A file whose frames are numbered and whose sound is noise, so that no error can hide."""
    root = tmp_path_factory.mktemp("rates")
    noise = np.random.default_rng(0).integers(-9000, 9000, round(LONG * 48000)).astype(np.int16)
    frames = [numbered(i) for i in range(90)]
    render(root / "noise.mkv", frames, wave=noise, codecs=("libx264", "flac"))
    render(root / "click.mkv", frames, wave=click(LONG, 48000, (1.25,)), codecs=("libx264", "flac"))
    return root


@pytest.fixture(scope="module")
def make(folder, tmp_path_factory):
    """(settings) -> (the source of the files, that of their shards)."""

    def made(**changes):
        source = source_of(folder, ("noise.mkv", "click.mkv"))
        return source, prepared(tmp_path_factory.mktemp("shards"), source, folder, **changes)

    return made


def sampler(start, frames=0, fps=25.0, samples=0, rate=16000, **more):
    return ClipSampler(frames, fps, samples, rate, 1, lambda info, rng: [(start, start)], **more)


def read_frames(source, *args, **more):
    ((clip,), _) = read(source, 0, sampler(*args, **more), 0)
    return list(map(number, clip["video"]))


def read_audio(source, start, rate, seconds=1.0, row=0):
    ((clip,), _) = read(source, row, sampler(start, samples=round(seconds * rate), rate=rate), 0)
    return clip["audio"].astype(int)


@pytest.mark.parametrize("kept, fps", [(16.0, 16.0), (16.0, 8.0), (16.0, 16 / 3), (12.5, 12.5)])
def test_divisor_frame_rate_matches_source_file(make, kept, fps):
    direct, source = make(fps=kept)
    for start in np.linspace(0.0, 1.9, 23):
        earlier = np.floor(start * kept + 1e-6) / kept  # Where the frames of the clip begin.
        shown = read_frames(source, start, 8, fps)
        assert shown == read_frames(direct, earlier, 8, fps)
        assert np.all(np.diff(shown) > 0), "a moving picture stands still"


@pytest.mark.parametrize("kept, fps", [(16.0, 25.0), (16.0, 12.0), (16.0, 32.0), (12.5, 25.0)])
def test_unavailable_frame_rate_is_refused(make, kept, fps):
    _, source = make(fps=kept)
    with pytest.raises(ValueError, match=f"{kept:g} frames per second and clips take.*--fps 0"):
        read_frames(source, 0.0, 8, fps)
    assert len(read_frames(source, 0.0, 1, fps)) == 1


@pytest.mark.parametrize("kept", [0.0, 25.0, 60.0])
def test_any_frame_rate_is_exact_with_all_frames_stored(make, kept):
    direct, source = make(fps=kept)
    for fps in (10.0, 16.0, 29.97, FPS, 60.0):
        for start in (0.0, 0.013, 0.5, 1.21):
            assert read_frames(source, start, 8, fps) == read_frames(direct, start, 8, fps)


def test_shards_without_drop_metadata_count_as_incomplete():
    assert shards._num_dropped({}, 16.0) and not shards._num_dropped({}, 0.0)
    assert shards._num_dropped({"num_dropped": 0}, 16.0) == 0


@pytest.mark.parametrize("rate", [8000, 16000, 21000, 22050, 24000, 44100])
def test_audio_at_lower_sample_rate_matches_source_file(make, rate):
    direct, source = make(sample_rate=48000)
    for start in (-0.2, 0.0, 0.7312, 1.0, 2.9, 3.5, 9.0):
        one, two = read_audio(direct, start, rate), read_audio(source, start, rate)
        assert np.abs(one - two).max() <= 2, start


@pytest.mark.parametrize("rate", [16000, 22050, 48000])
def test_audio_does_not_depend_on_segment_boundaries(make, rate):
    (_, short), (_, long) = (
        make(sample_rate=24000, segment_seconds=1.0),
        make(sample_rate=24000, segment_seconds=60.0),
    )
    for start in (0.0, 0.85, 0.9, 1.0, 1.79, 2.5):
        np.testing.assert_array_equal(read_audio(short, start, rate), read_audio(long, start, rate))


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_resampled_audio_stays_aligned(make, rate):
    _, source = make(sample_rate=24000)
    for start in (0.5, 0.9, 1.0, 1.2):
        loud = np.abs(read_audio(source, start, rate, row=1)).argmax() / rate
        assert start + loud == pytest.approx(1.25, abs=0.001)


def test_higher_sample_rate_is_reported_once(make, caplog):
    _, source = make(sample_rate=16000)
    with caplog.at_level(logging.WARNING):
        for start in (0.0, 1.0):
            read_audio(source, start, 48000)
    (record,) = caplog.records
    assert "audio at 16000 Hz and clips take 48000" in record.getMessage()


def test_all_incompatible_settings_are_reported_together(make):
    _, source = make(short_side=32, fps=12.5)
    wanted = sampler(0.0, 8, 25.0, 800, channels=2, short_side=48)
    with pytest.raises(ValueError, match="--short_side 48 --fps 0 --channels 2"):
        read(source, 0, wanted, 0)
