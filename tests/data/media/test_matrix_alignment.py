"""Picture and sound share one clock: proven on flashes and clicks, in files of every sort.

Bounds are far inside those promised, a frame and a hop of 10 ms: frames are those shown,
clicks within 2 ms.  What containers cannot tell is in NATURE, and shown to be so.
"""

import functools
import os
from fractions import Fraction

import av
import numpy as np
import pytest

from avjax.data.clip_sampling import ClipSampler
from avjax.data.media import video as media_video
from avjax.data.source import Source
from tests.data import flashes
from tests.data.datasets.test_shards import prepared
from tests.data.flashes import Kind

HOP = 0.010
CLOSE = 0.002
EDGE = 0.0015  # Matroska's times are whole milliseconds; nobody knows the frame any closer.
NTSC = Fraction(30000, 1001)
RATES = {"24": Fraction(24), "25": Fraction(25), "29.97": NTSC, "30": Fraction(30),
         "60": Fraction(60), "variable": None}  # fmt: skip
FINE = (100, 100.0, 24_000, 24_000)  # frames, fps, samples, rate: tells single frames apart
COARSE = (16, 16.0, 24_000, 24_000)  # and such as one trains on.


def sorts():
    """{name: Kind}: every rate of frames by every rate of sound by every container."""
    for container in ("mp4", "mkv", "webm", "avi", "mov"):
        for name, fps in RATES.items():
            for rate in (16_000, 44_100, 48_000):
                if (container, fps) != ("avi", None):
                    picture, sound = streams(container, rate)
                    yield f"{name}-{rate}.{container}", Kind(container, fps, rate, picture, sound)


def streams(container, rate):
    """Codecs that the container allows at this rate of sound; B-frames with about half."""
    if container == "webm":
        return ("vp9", "libopus") if rate == 48_000 else ("vp9", "vorbis")
    return {
        "mp4": {16_000: ("h264 B", "aac"), 44_100: ("h264", "aac"), 48_000: ("h264 B", "aac")},
        "mkv": {16_000: ("h264 B", "flac"), 44_100: ("h264", "vorbis"), 48_000: ("h264 B", "libopus")},
        "avi": {16_000: ("mpeg4", "pcm_s16le"), 44_100: ("h264", "pcm_s16le"), 48_000: ("mpeg4", "flac")},
        "mov": {16_000: ("h264", "pcm_s16le"), 44_100: ("h264 B", "alac"), 48_000: ("mjpeg", "aac")},
    }[container][rate]  # fmt: skip


LATE = dict(video_start=0.4, audio_start=0.9)
SORTS = dict(sorts()) | {
    "late.mp4": Kind("mp4", **LATE),
    "late-b.mp4": Kind("mp4", NTSC, 44_100, "h264 B", **LATE),
    "late.mkv": Kind("mkv", picture="h264 B", sound="libopus", **LATE),
    "late.mov": Kind("mov", Fraction(60), 16_000, sound="pcm_s16le", **LATE),
    "late.webm": Kind("webm", None, picture="vp8", sound="libopus", **LATE),
    "late-sound.mp4": Kind("mp4", picture="h264 B", audio_start=0.9),
    "late-picture.mp4": Kind("mp4", Fraction(30), picture="h264 B", video_start=0.5),
    "late-picture.mkv": Kind("mkv", Fraction(30), 44_100, sound="vorbis", video_start=0.5),
    "cut.mp4": Kind("mp4", cut=0.8),
    "cut-b.mp4": Kind("mp4", rate=44_100, picture="h264 B", cut=0.8),
    "cut.mov": Kind("mov", rate=16_000, sound="pcm_s16le", cut=0.8),
    "cut-late.mp4": Kind("mp4", picture="h264 B", cut=0.8, audio_start=0.9),
    "fragmented.mp4": Kind(
        "mp4", picture="h264 B", options=(("movflags", "frag_keyframe+empty_moov+delay_moov"),)
    ),
    "dash.mp4": Kind(
        "mp4",
        picture="h264 B",
        options=(("movflags", "dash+delay_moov"), ("frag_duration", "500000")),
    ),
    "faststart.mp4": Kind("mp4", picture="h264 B", options=(("movflags", "faststart"),)),
    "no-edits.mp4": Kind("mp4", sound="flac", options=(("use_editlist", "0"),)),
    "negative-offsets.mp4": Kind(
        "mp4", picture="h264 B", options=(("movflags", "negative_cts_offsets"),)
    ),
    "opus.mp4": Kind("mp4", sound="libopus"),
    "flac.mp4": Kind("mp4", rate=44_100, sound="flac"),
    "mp3.mp4": Kind("mp4", rate=44_100, sound="libmp3lame"),
    "mp3.mkv": Kind("mkv", rate=44_100, sound="libmp3lame"),
    "aac.mkv": Kind("mkv", rate=44_100, picture="h264 B"),
    "ac3.mkv": Kind("mkv", sound="ac3"),
    "b-frames.avi": Kind("avi", picture="h264 B", sound="pcm_s16le"),
    "mpeg4-b-frames.avi": Kind("avi", NTSC, picture="mpeg4 B", sound="pcm_s16le"),
    "mpeg4-b-frames.mkv": Kind("mkv", NTSC, picture="mpeg4 B", sound="pcm_s16le"),
    "open-gop.mp4": Kind("mp4", picture="open gop"),
    "open-gop-cut.mp4": Kind("mp4", picture="open gop", cut=0.8),
    "refresh.mkv": Kind("mkv", picture="refresh"),
    "mpeg2-b-frames.mkv": Kind("mkv", picture="mpeg2 B", sound="mp2"),
    "far.mkv": Kind("mkv", picture="h264 B", video_start=3600, audio_start=3600),
    "av1.mp4": Kind("mp4", Fraction(60), picture="av1"),
    "av1.webm": Kind("webm", Fraction(60), picture="av1", sound="libopus"),
    "prores.mov": Kind("mov", Fraction(24), picture="prores", sound="pcm_s16le"),
}


# What cannot be right, since the file does not say it; none of it is among SORTS.
NATURE = {
    "AVI has one frame a tick, and no times": Kind("avi", None, sound="pcm_s16le"),
    "AVI fills up late pictures, and not late sound": Kind("avi", sound="pcm_s16le", **LATE),
    "AVI does not tell the delay of MP3's encoder": Kind("avi", sound="libmp3lame"),
    "AVI does not tell the delay of AAC's encoder": Kind("avi"),
    "WebM allows Vorbis and Opus only": Kind("webm", picture="vp9"),
    "Opus has clocks of 48 kHz and its parts": Kind("mkv", rate=44_100, sound="libopus"),
}
# Files whose writer moved the clock of both streams, so that they are still in step.
NO_EDITS = (("use_editlist", "0"),)
MOVED = {
    "no-edits.mp4": Kind("mp4", options=NO_EDITS),
    "no-edits-b.mp4": Kind("mp4", picture="h264 B", options=NO_EDITS),
    "empty-moov.mp4": Kind(
        "mp4", picture="h264 B", options=(("movflags", "frag_keyframe+empty_moov"),), **LATE
    ),
    "aac.flv": Kind("flv", rate=44_100, picture="h264 B"),
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """(path, Truth) of a sort of file, written when first asked for."""
    folder, made = tmp_path_factory.mktemp("flashes"), {}

    def get(name):
        if name not in made:
            made[name] = str(folder / name), flashes.render(folder / name, SORTS[name])
        return made[name]

    return get


def direct(path, sampler):
    """read(video_start, audio_start) -> (frames, sound), from the file itself."""
    frames, fps, samples, rate = sampler

    def read(video_start, audio_start):
        with media_video.open_media(path) as media:
            seen = media_video.read_frames(media, video_start, frames, fps)
            return seen, media_video.read_audio(media, audio_start, samples, rate)

    return read


def kept(source, row, sampler):
    """read(video_start, audio_start) -> (frames, sound), from a source that reads otherwise."""

    def read(video_start, audio_start):
        fixed = ClipSampler(*sampler, 1, lambda info, rng: [(video_start, audio_start)])
        (clip,), _ = source.read(row, fixed, [np.random.default_rng(0)])
        return clip["video"], clip["audio"]

    return read


@pytest.fixture(scope="module")
def ways(rendered, tmp_path_factory):
    """{way: (name, view) -> read}; the shards hold all files, in pieces shorter than clips are
    apart.
    """

    @functools.cache
    def shards():
        source = Source("flashes", tuple({"path": rendered(name)[0]} for name in SORTS))
        out = tmp_path_factory.mktemp("shards")
        root = os.path.dirname(source[0]["path"])
        return prepared(out, source, root, fps=0.0, sample_rate=FINE[3], segment_seconds=1.5)

    return {
        "direct": lambda name, sampler: direct(rendered(name)[0], sampler),
        "shards": lambda name, sampler: kept(shards(), list(SORTS).index(name), sampler),
    }


@pytest.mark.parametrize("way", ["direct", "shards"])
@pytest.mark.parametrize("name", SORTS)
def test_flash_and_click_are_at_their_times(rendered, ways, way, name):
    for sampler in (FINE, COARSE):
        check(ways[way](name, sampler), rendered(name)[1], sampler)


@pytest.mark.parametrize("frames, sound", [(0.02, 0), (-0.02, 0), (0, 0.003), (0, -0.003)])
def test_half_frame_and_three_millisecond_shifts_are_detected(rendered, frames, sound):
    path, truth = rendered("25-48000.mp4")
    read = direct(path, FINE)
    with pytest.raises(AssertionError):
        check(lambda video, audio: read(video + frames, audio + sound), truth, FINE)


@pytest.mark.parametrize("why", NATURE)
def test_container_without_timing_metadata(tmp_path, why):
    with pytest.raises((AssertionError, ValueError, av.FFmpegError)):
        path = tmp_path / f"a.{NATURE[why].container}"
        check(direct(str(path), FINE), flashes.render(path, NATURE[why]), FINE)


@pytest.mark.parametrize("name", MOVED)
def test_shifted_clock_moves_both_streams(tmp_path, name):
    truth = flashes.render(tmp_path / name, MOVED[name])
    seen, audio_samples = direct(str(tmp_path / name), (500, 100.0, 120_000, 24_000))(0.0, 0.0)
    lit = lights(seen)
    flashed = np.flatnonzero(lit & ~np.roll(lit, 1)) / 100.0
    struck = np.array(clicks(audio_samples, 0.0, 24_000))
    assert len(flashed) == len(struck) == len(truth.clicks)
    assert np.ptp(struck - truth.clicks) < CLOSE
    assert np.abs(struck - flashed).max() <= HOP


def test_edit_within_a_frame_is_off_by_less_than_a_frame(tmp_path):
    """FFmpeg counts the frame from the edit's beginning on, and the sound truly."""
    truth = flashes.render(tmp_path / "a.mp4", Kind("mp4", cut=0.825))
    seen, audio_samples = direct(str(tmp_path / "a.mp4"), (300, 100.0, 72_000, 24_000))(0.0, 0.0)
    lit = lights(seen)
    flashed = np.flatnonzero(lit & ~np.roll(lit, 1)) / 100.0
    struck = np.array(clicks(audio_samples, 0.0, 24_000))
    assert np.abs(struck - truth.clicks).max() <= CLOSE
    assert np.abs(flashed - [low for low, _ in truth.flashes]).max() <= truth.longest


def check(read, truth, sampler):
    """Asserts that clips from all over a file show and sound what is true at their time."""
    frames, fps, samples, rate = sampler
    for start in starts(truth, frames / fps, fps):
        for lag in (0.0, 0.231):
            seen, audio_samples = read(start, start + lag)
            assert seen.shape == (frames, *flashes.SIZE, 3) and seen.dtype == np.uint8
            assert audio_samples.shape == (samples,) and audio_samples.dtype == np.int16
            lit = lights(seen)
            assert_seen(lit, start, fps, truth)
            struck = clicks(audio_samples, start + lag, rate)
            assert_heard(struck, start + lag, samples / rate, truth)
            assert_together(lit, struck, start, lag, sampler, truth)


def starts(truth, seconds, fps):
    """Where clips begin: before, at and in the file, one of its frames amid a flash, past its end."""
    (first, last), nudge = truth.video, 0.3 / fps  # Off the edges of frames.
    yield from (first - 0.7 + nudge, first, first + nudge)
    for number, (low, high) in enumerate(truth.flashes):
        yield (low + high) / 2 - (3 + 4 * number) / fps
    yield from (last - seconds - nudge, last - 0.4 + 0.5 / fps, last + 1.0)


def lights(seen):
    return seen.reshape(len(seen), -1).mean(axis=1) > 127


def assert_seen(lit, start, fps, truth):
    """White are just the frames at whose time a flash was shown; past the end they repeat."""
    times = np.maximum(start + np.arange(len(lit)) / fps, truth.video[0])
    end = truth.video[1]
    inside = max(1, int(np.sum(times < end)))
    if np.abs(times - end).min() > EDGE:
        times = np.where(times < end, times, times[np.arange(len(times)) % inside])
    else:  # Nobody knows which is the first to repeat.
        times = times[: inside - 1]
    for time, white in zip(times, lit):
        if all(abs(time - edge) > EDGE for flash in truth.flashes for edge in flash):
            assert white == any(low < time < high for low, high in truth.flashes), (start, time)


def clicks(audio_samples, start, rate):
    """Times of the middle of all that is loud, 10 ms of it at most in one."""
    at = np.flatnonzero(np.abs(audio_samples.astype(int)) > flashes.LOUD / 4)
    runs = np.split(at, np.flatnonzero(np.diff(at) > HOP * rate) + 1)
    return [start + run.mean() / rate for run in runs if len(run)]


def assert_heard(struck, start, seconds, truth):
    """Each click of the clip is heard at its time, and nothing else."""
    inside = [t for t in truth.clicks if start + HOP < t < start + seconds - HOP]
    for time in inside:
        assert any(abs(time - click) <= CLOSE for click in struck), (
            start,
            time,
            struck,
        )
    for click in struck:
        assert any(abs(time - click) <= CLOSE for time in truth.clicks), (
            start,
            click,
        )


def assert_together(lit, struck, start, lag, sampler, truth):
    """A flash that is seen and its click are a frame and a hop apart at most."""
    frames, fps, samples, rate = sampler
    begin, end = start + lag + HOP, start + lag + samples / rate - HOP
    for time in start + np.flatnonzero(lit & ~np.roll(lit, 1)) / fps:
        for low, high in truth.flashes:
            if low - EDGE <= time <= high + EDGE and begin < low < end:
                apart = min(abs(time - click) for click in struck)
                assert apart <= HOP + min(1 / fps, high - low), (start, time, struck)
