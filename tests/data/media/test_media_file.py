"""Streams are those a player would choose, and lie where their packets do, whatever headers say."""

import os
import pathlib
from fractions import Fraction

import av
import numpy as np
import pytest

from avjax.data import clip_sampling, example
from avjax.data.media import video as media_video
from avjax.data.prepare import file_checks, shard_writer
from avjax.data.source import Source
from tests.data import writing
from tests.data.datasets.test_shards import prepared, settings as settings_of
from tests.data.media.test_video import SIZE, click, fails, number, numbered, render

RATE, BOTH = 16000, ("video", "audio")
MPEG = dict(video="mpeg2video", audio="mp2")


def several(path, pictures=(), sounds=(), seconds=3):
    """Streams in the order given: pictures (height, width, fps, default, has data), all of one
    gray, 20 times their place; sounds (Hz, channels, default, has data)."""
    with av.open(str(path), "w") as file:
        streams = []
        for height, width, fps, default, _ in pictures:
            stream = file.add_stream("libx264", rate=fps, options={"g": "10"})
            stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
            stream.disposition = av.stream.Disposition.default if default else 0
            streams.append(stream)
        for _, channels, default, _ in sounds:
            layout = {1: "mono", 2: "stereo"}[channels]
            stream = file.add_stream("aac", rate=RATE, layout=layout)
            stream.disposition = av.stream.Disposition.default if default else 0
            streams.append(stream)
        file.start_encoding()
        for i, (height, width, fps, _, data) in enumerate(pictures):
            image = np.full((height, width, 3), 20 * i + 20, np.uint8)
            for k in range(fps * seconds if data else 0):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = k, Fraction(1, fps)
                file.mux(streams[i].encode(frame))
        for i, (pitch, channels, _, data) in enumerate(sounds, len(pictures)):
            wave = np.sin(2 * np.pi * pitch * np.arange(seconds * RATE) / RATE).astype(np.float32)
            for k in range(0, len(wave) if data else 0, 1024):
                part = np.repeat(0.4 * wave[None, k : k + 1024], channels, 0)
                frame = av.AudioFrame.from_ndarray(part, "fltp", streams[i].layout.name)
                frame.sample_rate, frame.pts, frame.time_base = RATE, k, Fraction(1, RATE)
                file.mux(streams[i].encode(frame))
        for stream, data in zip(streams, [s[-1] for s in (*pictures, *sounds)]):
            file.mux(stream.encode(None) if data else [])
    return str(path)


def pitch(media):
    wave = media_video.read_audio(media, 1.0, RATE, RATE)
    return int(np.argmax(np.abs(np.fft.rfft(wave * np.hanning(RATE)))))


def found(path, record=None, **settings):
    """What the doctor says of a file."""
    record = dict(path=str(path)) | (record or {})
    result = shard_writer._process_record(
        "/", record, 0, settings_of(**settings), None, None, lambda p: None
    )
    return result["findings"]


LARGE, SMALL = (96, 128, 10), (16, 32, 1)


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
@pytest.mark.parametrize(
    "pictures, sounds, gray, heard",
    [
        ([], [(440, 1, False, True), (880, 1, True, True)], None, 880),
        ([], [(440, 1, False, True), (880, 2, False, True)], None, 880),
        ([], [(440, 1, True, True), (880, 1, True, True)], None, 440),
        ([], [(440, 2, True, False), (880, 1, False, True)], None, 880),
        ([(*SMALL, True, True), (*LARGE, False, True)], [(440, 1, True, True)], 40, 440),
        ([(*LARGE, True, False), (*SMALL, False, True)], [(440, 1, True, True)], 40, 440),
    ],
    ids=["default", "more channels", "first of equals", "empty", "preview", "empty picture"],
)
def test_streams_are_chosen_like_players_do(tmp_path, suffix, pictures, sounds, gray, heard):
    path = several(tmp_path / f"a.{suffix}", pictures, sounds)
    if suffix == "mp4" and not any(default for *_, default, _ in sounds):
        heard = sounds[0][0]  # The muxer makes the first one the default.
    with media_video.open_media(path) as media:
        assert pitch(media) == heard
        assert (media.video is None) == (gray is None)
        if gray:
            assert abs(media_video.read_frames(media, 1.0, 1, 8).mean() - gray) < 4


def test_declared_stream_without_data_is_ignored(tmp_path):
    one = [(*LARGE, True, True)], [(440, 1, True, False)]
    two = [(*LARGE, True, False)], [(440, 1, True, True)]
    for i, suffix in enumerate(("mkv", "mp4")):
        with media_video.open_media(several(tmp_path / f"v{i}.{suffix}", *one)) as media:
            assert media.audio is None and media.info.audio_start is None
            assert media_video.read_frames(media, 0.0, 2, 8).any()
        with media_video.open_media(several(tmp_path / f"a{i}.{suffix}", *two)) as media:
            assert media.video is None and pitch(media) == 440


def test_file_checks_report_several_streams(tmp_path):
    path = several(tmp_path / "a.mkv", [(*LARGE, True, True)], [(440, 1, False, True), (880, 1, True, True)])  # fmt: skip
    assert "several streams" in found(path) and file_checks.is_usable(
        ["several streams"], ("audio",)
    )
    assert "several streams" not in found(several(tmp_path / "b.mkv", [(*LARGE, True, True)]))


UNFINISHED = {
    "a.mkv": dict(audio="libopus", muxing={"live": "1"}),
    "a.flv": dict(video="flv", rate=44100, muxing={"flvflags": "no_duration_filesize"}),
    "a.ts": {},
    "a.mpg": MPEG,
    "a.mp4": dict(muxing={"movflags": "frag_keyframe+empty_moov+delay_moov"}),
}
FRAMES, WAVE = [numbered(i) for i in range(150)], click(6.0, 48000, (1.3, 4.7))


@pytest.mark.parametrize("name", UNFINISHED)
@pytest.mark.parametrize("cut", [1.0, 0.7])
def test_unfinalized_recording_is_readable(tmp_path, name, cut):
    path, how = tmp_path / name, UNFINISHED[name]
    wave = WAVE if how.get("rate") is None else click(6.0, 44100, (1.3, 4.7))
    writing.media(path, FRAMES, wave, **how)
    os.truncate(path, int(os.path.getsize(path) * cut))
    assert found(path, sample_rate=RATE)[0] in ("good", "lengths differ")
    with media_video.open_media(path) as media:
        info = media.info
        begin, last = info.video_start, min(info.video_end, info.audio_end)
        assert (5.8 if cut == 1 else 2.0) < last - begin < 6.2
        shown = [number(image) for image in media_video.read_frames(media, last - 0.9, 10, 12.5)]
        assert shown == sorted(set(shown))  # None is shown twice: nothing freezes.


@pytest.mark.parametrize("name", ["a.avi", "a.flv", "a.mkv", "a.webm", "a.ts", "a.mp4"])
def test_audio_ends_with_its_packets(tmp_path, name):
    how = {
        "a.avi": dict(video="mpeg4", audio="pcm_s16le"),
        "a.flv": dict(video="flv", rate=44100),
        "a.mkv": dict(audio="libopus"),
        "a.webm": dict(video="libvpx", audio="libopus"),
    }.get(name, {})
    wave = np.full(3 * how.get("rate", 48000), 9000, np.int16)
    writing.media(tmp_path / name, FRAMES, wave, **how)
    with media_video.open_media(tmp_path / name) as media:
        start = media.info.video_start
        assert abs(media.info.audio_end - start - 3.0) < 0.12
        assert abs(media.info.video_end - start - 6.0) < 0.12
    assert found(tmp_path / name, sample_rate=RATE) == ["lengths differ"]


def test_audio_starts_with_its_packets(tmp_path):
    frames = [numbered(i) for i in range(60)]
    for name in ("a.mkv", "a.ts"):
        audio = "libopus" if name == "a.mkv" else "aac"
        writing.media(tmp_path / name, frames, WAVE, audio=audio, fps=5, starts=(0.0, 8.0))
        with media_video.open_media(tmp_path / name) as media:
            assert abs(media.info.audio_start - media.info.video_start - 8.0) < 0.12


@pytest.mark.parametrize("name, audio", [("a.mkv", "flac"), ("a.flac", "flac"), ("a.mp4", "aac")])
def test_data_shorter_than_declared_are_reported(tmp_path, name, audio):
    frames = None if name == "a.flac" else [np.roll(numbered(i), i, 0) for i in range(150)]
    wave = np.random.default_rng(0).integers(-9000, 9000, 6 * 48000).astype(np.int16)
    writing.media(tmp_path / name, frames, wave, audio=audio, muxing={"movflags": "faststart"})
    os.truncate(tmp_path / name, os.path.getsize(tmp_path / name) // 2)
    assert "truncated" in found(tmp_path / name, sample_rate=RATE)
    with media_video.open_media(tmp_path / name) as media:
        assert media_video.read_audio(media, 0.5, 9999, 8000).any()
        if media.info.audio_end > 5:  # What is promised is not given as silence.
            with fails("cut short|Invalid"):
                media_video.read_audio(media, 4.5, 9999, 8000)
        if frames:
            with fails("cut short|Invalid"):
                media_video.read_frames(media, 4.5, 8, 16)


def test_restarting_clock_is_detected(tmp_path):
    for name, how in (("a.ts", {}), ("a.mpg", MPEG)):
        writing.joined(tmp_path / name, **how)
        with fails("clock restarts"), media_video.open_media(tmp_path / name):
            pass
        assert found(tmp_path / name) == ["clock restarts"]
    assert not file_checks.is_usable(["clock restarts"], ())


def test_jumping_clock_is_detected(tmp_path):
    for start, finding in ((60.0, "gap"), (writing.LENGTH, "good")):
        writing.joined(tmp_path / "a.ts", start)
        assert found(tmp_path / "a.ts", sample_rate=RATE) == [finding]
    assert not file_checks.is_usable(["gap"], ())


def test_replaced_file_is_read_again(tmp_path):
    path = tmp_path / "a.ts"
    for pictures in (FRAMES[:50], FRAMES):
        writing.media(path, pictures, None)
        with media_video.open_media(path) as media:
            lasting = media.info.video_end - media.info.video_start
            assert abs(lasting - len(pictures) / 25) < 0.05


def test_few_key_frames_are_detected_and_prepare_is_suggested(tmp_path, monkeypatch):
    frames = [np.full((*SIZE, 3), 20 + i, np.uint8) for i in range(150)]
    path = render(tmp_path / "a.mp4", frames, wave=WAVE)
    assert found(path) == ["good"]
    monkeypatch.setattr("avjax.data.prepare.file_checks.MAX_PACKETS", 80)
    monkeypatch.setattr("avjax.data.media.packets.MAX_PACKETS", 80)
    assert found(path) == ["few key frames"] and file_checks.is_usable(["few key frames"], BOTH)
    with (
        media_video.open_media(path) as media,
        fails("more than 80 packets.*python -m avjax.prepare"),
    ):
        media_video.read_frames(media, 4.0, 4, 16)
    kept = prepared(tmp_path / "out", Source("a", (dict(path=path, label=0),), ("a",)), tmp_path)
    sampler = clip_sampling.ClipSampler(4, 12.5, 0, RATE, 1, lambda info, rng: [(4.0, 4.0)])
    ((clip,), _) = kept.read(0, sampler, [np.random.default_rng(0)])
    assert np.abs(clip["video"].mean((1, 2, 3)) - [120, 122, 124, 126]).max() < 3


@pytest.mark.parametrize("start, end", [(30.0, 40.0), (5.9, 9.0), (-9.0, -1.0)])
def test_segment_outside_file_is_refused(tmp_path, start, end):
    record = dict(path=render(tmp_path / "a.mp4", FRAMES, wave=WAVE), start=start, end=end)
    sampler = clip_sampling.random(4, 8, 0.5, RATE)
    clip, fault = attempted(record, sampler)
    assert clip is None and "outside the file" in fault[2] and "trimmed=True" in fault[2]
    assert found(record["path"], dict(start=start, end=end)) == ["outside"]


def attempted(record, sampler, strict=True):
    source = Source("a", (record,))
    rngs = [np.random.default_rng(0)]
    return example.load_example(source, 0, sampler, (), rngs, strict, {}, lambda row: None)


def test_segment_after_end_of_audio_has_no_audio(tmp_path):
    path = render(tmp_path / "a.mp4", FRAMES, wave=np.full(2 * 48000, 9000, np.int16))
    record = dict(path=path, start=3.0, end=5.0, label=0)
    _, fault = attempted(record, clip_sampling.random(4, 8, 0.5, RATE))
    assert fault[2] == example.NO_AUDIO
    direct, _ = attempted(record, clip_sampling.random(4, 8, 0.5, RATE), strict=False)
    kept = prepared(tmp_path / "out", Source("a", (record,), ("a",)), tmp_path, require=("video",))
    ((clip,), has_audio) = kept.read(
        0, clip_sampling.random(4, 8, 0.5, RATE), [np.random.default_rng(0)]
    )
    assert not has_audio and not direct["has_audio"].any() and not clip["audio"].any()
    assert list(map(number, clip["video"])) == list(map(number, direct["video"][0]))
    sounding, fault = attempted(
        dict(record, start=1.2, end=2.6), clip_sampling.random(4, 8, 0.5, RATE)
    )
    assert fault is None and sounding["has_audio"].all()


def waves(path, waves):
    """Writes a file of two channels, int16 [N, 2]."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=RATE, layout="stereo")
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(waves.reshape(1, -1)), "s16", "stereo"
        )
        frame.sample_rate, frame.pts = RATE, 0
        file.mux([*stream.encode(frame), *stream.encode(None)])
    return str(path)


def test_canceling_channels_are_detected(tmp_path):
    noise = np.random.default_rng(0).integers(-9000, 9000, (4 * RATE, 2)).astype(np.int16)
    one = noise[:, :1]
    sounds = {"same": one * [1, 1], "apart": noise, "quiet": one * [1, 0], "anti": one * [1, -1]}
    for name, wave in sounds.items():
        path = waves(tmp_path / f"{name}.wav", wave.astype(np.int16))
        assert ("antiphase" in found(path, require=("audio",))) == (name == "anti")
    assert not file_checks.is_usable(["antiphase"], ("audio",)) and file_checks.is_usable(
        ["antiphase"], ("video",)
    )


def test_still_video_is_detected(tmp_path):
    rng = np.random.default_rng(0)
    still = [rng.normal(120, 1, (*SIZE, 3)).clip(0, 255).astype(np.uint8) for _ in range(50)]
    moving = [image.copy() for image in still]
    moving[30][10:20, 10:20] = 255
    assert "still" in found(render(tmp_path / "a.mp4", still))
    assert "still" not in found(render(tmp_path / "b.mp4", moving))
    assert file_checks.is_usable(["still"], ("video", "audio"))


def voice(rng, seconds):
    """Syllables of a quarter of a second, three in four, whose pitch glides, over breath."""
    out = rng.normal(0, 60, round(seconds * RATE))
    size = RATE // 4
    for k in range(0, len(out) - size, size):
        if rng.random() < 0.75:
            hertz = 130 * 2 ** np.linspace(*rng.uniform(-0.4, 0.4, 2), size)
            phase = 2 * np.pi * np.cumsum(hertz) / RATE
            tone = sum(np.sin(n * phase) / n for n in range(1, 12))
            out[k : k + size] += 6000 * tone * np.hanning(size) ** 2
    return out


def tune(rng, seconds):
    """Notes of 0.4 s, each a chord of steady harmonics."""
    out, size = rng.normal(0, 20, round(seconds * RATE)), round(0.4 * RATE)
    time = np.arange(size) / RATE
    for k in range(0, len(out) - size, size):
        for note in rng.choice(24, 3, replace=False):
            hertz = 220 * 2 ** (note / 12)
            tone = sum(np.sin(2 * np.pi * n * hertz * time) / n for n in range(1, 6))
            out[k : k + size] += 2500 * tone
    return out


def test_speech_and_music_give_hints(tmp_path):
    rng = np.random.default_rng(0)
    sounds = {
        "speech only": voice(rng, 8),
        "music only": tune(rng, 8),
        "noise": rng.normal(0, 3000, 8 * RATE),
        "hum": 8000 * np.sin(2 * np.pi * 120 * np.arange(8 * RATE) / RATE),
        "both": tune(rng, 8) + 2 * rng.normal(0, 3000, 8 * RATE),
    }
    for name, wave in sounds.items():
        path = waves(tmp_path / f"{name}.wav", np.repeat(wave.astype(np.int16)[:, None], 2, 1))
        hints = {"speech only", "music only"} & set(
            found(path, require=("audio",), segment_seconds=3.0)
        )
        assert hints == {name} & {"speech only", "music only"}, name
    assert (
        file_checks.is_usable(["speech only"], ("audio",))
        and "hint" in file_checks.FINDINGS["music only"]
    )


@pytest.mark.parametrize(
    "name", [b"a:b.mp4", b"file:a.mp4", b"-i.mp4", b"100%d.mp4", b"\xff\xe9.mp4"]
)
def test_file_with_any_name_opens(tmp_path, name, monkeypatch):
    path = os.fsencode(tmp_path) + b"/" + name
    pathlib.Path(os.fsdecode(path)).write_bytes(
        pathlib.Path(render(tmp_path / "whole.mp4", FRAMES[:5])).read_bytes()
    )
    monkeypatch.chdir(tmp_path)
    for given in (os.fsdecode(path), os.fsdecode(name)):
        with media_video.open_media(given) as media:
            assert number(media_video.read_frames(media, 0.0, 1, 25)[0]) == 0
