import contextlib
import os
import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from avjax.data.media import video as media_video

SIZE = (48, 64)  # Height, width.


def numbered(i):
    """A picture that tells its number: 8 bits as 4 x 2 black and white blocks."""
    bits = (i >> np.arange(8)) & 1
    return (
        np.kron(bits.reshape(2, 4), np.full((24, 16), 255)).astype(np.uint8)[..., None].repeat(3, 2)
    )


def number(image):
    """What `numbered` wrote, read off a decoded picture."""
    height, width = image.shape[0] // 2, image.shape[1] // 4
    bits = [image[r * height + 8, c * width + 8].mean() > 127 for r in (0, 1) for c in range(4)]
    return sum(int(bit) << i for i, bit in enumerate(bits))


def click(seconds, rate, at):
    """Silence with a click of 1 ms at each of `at` seconds, int16 [N]."""
    wave = np.zeros(round(seconds * rate), np.int16)
    for time in at:
        wave[round(time * rate) : round((time + 0.001) * rate)] = 20000
    return wave


def render(
    path, frames=None, fps=25, stamps=None, wave=None, rate=48000, codecs=("libx264", "aac"), gop=250,
    aspect=None, video_start=0.0, audio_start=0.0, options=None,
):  # fmt: skip
    """Writes a media file: `frames` [T, H, W, 3] shown at `stamps` / 1000 s, sound `wave` [N]."""
    with av.open(str(path), "w", options=options or {}) as file:
        if frames is not None:
            video = file.add_stream(codecs[0], rate=fps, options={"g": str(gop), "crf": "10"})
            video.height, video.width = frames[0].shape[:2]
            video.pix_fmt = "yuv420p"
            video.codec_context.thread_count = 1
            if stamps is not None:
                video.codec_context.time_base = Fraction(1, 1000)
            if aspect:
                video.codec_context.sample_aspect_ratio = aspect
        if wave is not None:
            sound = file.add_stream(codecs[1], rate=rate)
            sound.codec_context.layout = "mono"
            if "16" in {form.name[1:3] for form in sound.codec_context.codec.audio_formats}:
                names = [form.name for form in sound.codec_context.codec.audio_formats]
                sound.codec_context.format = next(name for name in names if "16" in name)
            kind = sound.codec_context.format.name
        for i, image in enumerate([] if frames is None else frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.time_base = Fraction(1, 1000) if stamps is not None else 1 / Fraction(fps)
            frame.pts = (i if stamps is None else stamps[i]) + round(video_start / frame.time_base)
            file.mux(video.encode(frame))
        if frames is not None:
            file.mux(video.encode(None))
        if wave is not None:
            size = sound.codec_context.frame_size or 1024
            for k in range(0, len(wave), size):
                part = wave[None, k : k + size]
                part = (part / 32768).astype(np.float32) if kind.startswith("flt") else part
                frame = av.AudioFrame.from_ndarray(part, format=kind, layout="mono")
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = k + round(audio_start * rate)
                file.mux(sound.encode(frame))
            file.mux(sound.encode(None))
    return str(path)


@contextlib.contextmanager
def fails(text):
    with pytest.raises(media_video.MediaError, match=text):
        yield


KINDS = {
    "x264.mp4": dict(codecs=("libx264", "aac"), gop=250),
    "x264.mkv": dict(codecs=("libx264", "libopus"), gop=12),
    "ntsc.mp4": dict(codecs=("libx264", "aac"), fps=Fraction(30000, 1001), rate=44100),
    "ntsc.mkv": dict(codecs=("libx264", "flac"), fps=Fraction(30000, 1001), rate=16000),
    # PCM: AVI does not tell the delay of MP3's encoder, 23 ms here, which nobody can take off.
    "mpeg4.avi": dict(codecs=("mpeg4", "pcm_s16le"), gop=12),
    "x264.avi": dict(codecs=("libx264", "pcm_s16le"), gop=12),
    "vp9.webm": dict(codecs=("libvpx-vp9", "libopus"), fps=30),
    "x264.ts": dict(codecs=("libx264", "aac"), gop=12),
    "offset.mp4": dict(video_start=0.4, audio_start=0.9),
    "offset.mkv": dict(codecs=("libx264", "libopus"), video_start=0.4, audio_start=0.9),
    "early_sound.mp4": dict(video_start=1.0, gop=12),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One file of each kind: 100 numbered frames, four seconds of sound with two clicks."""
    folder, made = tmp_path_factory.mktemp("files"), {}
    for name, kind in KINDS.items():
        frames = [numbered(i) for i in range(100)]
        wave = click(4.0, kind.get("rate", 48000), (1.3, 2.7))
        made[name] = render(folder / name, frames, wave=wave, **kind)
    return made


@pytest.mark.parametrize("name", KINDS)
def test_frames_match_their_display_times(files, name):
    kind = KINDS[name]
    fps, shift = Fraction(kind.get("fps", 25)), kind.get("video_start", 0.0)
    with media_video.open_media(files[name]) as media:
        # MPEG-TS starts its clock where it likes.
        shift = media.info.video_start if name.endswith(".ts") else shift
        for first in (0, 1, 11, 12, 24, 37, 50, 63):
            start = shift + float((first + Fraction(3, 32)) / fps)  # Never on a frame's edge.
            got = media_video.read_frames(media, start, 8, 16)
            assert got.shape == (8, *SIZE, 3) and got.dtype == np.uint8
            times = start + np.arange(8) / 16 - shift
            assert [number(image) for image in got] == [int(t * fps) for t in times]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("rate", [24000, 16000, 48000])
def test_clicks_are_at_their_times(files, name, rate):
    with media_video.open_media(files[name]) as media:
        shift = KINDS[name].get("audio_start", 0.0)
        if name.endswith(".ts"):  # Its own clock; the encoder's delay comes before the picture.
            shift = media.info.video_start
        for at in (1.3, 2.7):
            start = shift + at - 0.61803
            got = media_video.read_audio(media, start, rate, rate)
            assert got.shape == (rate,) and got.dtype == np.int16
            loud = np.abs(got.astype(np.int32)) > np.abs(got.astype(np.int32)).max() / 2
            assert abs(start + np.flatnonzero(loud).mean() / rate - (shift + at + 0.0005)) < 0.002


def test_flash_and_click_coincide_in_a_clip(tmp_path):
    """Picture and sound that start at different times still share one clock."""
    frames = [np.full((*SIZE, 3), 250 if i == 30 else 20, np.uint8) for i in range(75)]
    wave = click(3.0, 48000, (30 / 25 - 0.35,))
    path = render(tmp_path / "a.mp4", frames, wave=wave, audio_start=0.35)
    with media_video.open_media(path) as media:
        video = media_video.read_frames(media, 0.9, 16, 16).mean((1, 2, 3))
        sound = media_video.read_audio(media, 0.9, 24000, 24000)
    assert abs(np.argmax(video) / 16 - 0.3) <= 1 / 16
    assert abs(np.argmax(np.abs(sound.astype(int))) / 24000 - 0.3) < 0.010


def test_lossless_audio_round_trips_exactly(tmp_path):
    wave = np.random.default_rng(0).integers(-30000, 30000, 96000).astype(np.int16)
    for name, codec in (("a.flac", "flac"), ("a.wav", "pcm_s16le"), ("a.mkv", "flac")):
        path = render(tmp_path / name, wave=wave, codecs=(None, codec))
        with media_video.open_media(path) as media:
            for first in (0, 1, 12345, 60000):
                got = media_video.read_audio(media, first / 48000, 24000, 48000)
                np.testing.assert_array_equal(got, wave[first : first + 24000])


def test_resampling_has_no_delay_and_is_window_independent(tmp_path):
    time = np.arange(3 * 44100) / 44100
    wave = (12000 * np.sin(2 * np.pi * (200 * time + 300 * time**2))).astype(np.int16)
    path = render(tmp_path / "a.wav", wave=wave, rate=44100, codecs=(None, "pcm_s16le"))
    with media_video.open_media(path) as media:
        one, two = (
            media_video.read_audio(media, 0.5, 24000, 24000),
            media_video.read_audio(media, 1.0, 24000, 24000),
        )
    time = 0.5 + np.arange(24000) / 24000
    exact = 12000 * np.sin(2 * np.pi * (200 * time + 300 * time**2))
    assert np.abs(one - exact).max() < 60
    assert np.abs(one[12000:].astype(int) - two[:12000]).max() <= 1


def test_silence_before_after_and_in_gaps(tmp_path):
    wave = np.full(48000, 9000, np.int16)
    path = render(tmp_path / "a.mkv", wave=wave, codecs=(None, "flac"), audio_start=0.5)
    with media_video.open_media(path) as media:
        got = media_video.read_audio(media, 0.0, 96000, 48000)
        assert np.all(media_video.read_audio(media, 5.0, 100, 48000) == 0)
    assert np.all(got[:23900] == 0) and np.all(got[24100:71900] == 9000)
    assert np.all(got[72100:] == 0)


def test_times_past_the_end_repeat_the_clip(files):
    with media_video.open_media(files["x264.mp4"]) as media:
        got = [number(image) for image in media_video.read_frames(media, 3.79, 8, 25)]
        assert got == [94, 95, 96, 97, 98, 99, 94, 95]
        assert [number(image) for image in media_video.read_frames(media, 9.0, 2, 25)] == [99, 99]
        assert [number(image) for image in media_video.read_frames(media, -1.0, 2, 25)] == [0, 0]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_variable_frame_rate(tmp_path, name):
    stamps = [0, 40, 80, 900, 910, 920, 2000, 2040, 2080, 2120, 2900, 3000]
    path = render(tmp_path / name, [numbered(i) for i in range(12)], stamps=stamps)
    with media_video.open_media(path) as media:
        for start in (0.0, 0.85, 1.0, 1.95, 2.5):
            got = [number(image) for image in media_video.read_frames(media, start, 6, 13)]
            times = (start + np.arange(6) / 13) * 1000 + 0.6
            assert got == (np.searchsorted(stamps, times, side="right") - 1).tolist()


def test_skipping_frames_changes_no_pixel(tmp_path):
    rng = np.random.default_rng(0)
    still = rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    frames = [np.roll(still, i, axis=1) for i in range(60)]
    path = render(tmp_path / "a.mp4", frames)
    with av.open(path) as file:
        whole = np.stack([f.to_ndarray(format="rgb24") for f in file.decode(video=0)])
    with media_video.open_media(path) as media:
        np.testing.assert_array_equal(media_video.read_frames(media, 1.0, 8, 12.5), whole[25:41:2])


def test_file_with_one_frame(tmp_path):
    path = render(tmp_path / "a.mp4", [numbered(7)])
    with media_video.open_media(path) as media:
        got = media_video.read_frames(media, 0.0, 4, 16)
    assert [number(image) for image in got] == [7] * 4


def turned(path, matrix):
    """Rewrites the display matrix of the first track of an mp4 file."""
    data = bytearray(open(path, "rb").read())
    at = data.index(b"tkhd") + 4 + 40 - 4 + 4  # Past version, times, track, layer and volume.
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    open(path, "wb").write(data)


@pytest.mark.parametrize(
    "matrix, corner",
    [
        ((1, 0, 0, 1), (0, 0)),
        ((0, 1, -1, 0), (0, -1)),  # A quarter to the right.
        ((-1, 0, 0, -1), (-1, -1)),
        ((0, -1, 1, 0), (-1, 0)),
        ((-1, 0, 0, 1), (0, -1)),  # A mirror.
    ],
)
def test_the_display_matrix_is_applied(tmp_path, matrix, corner):
    image = np.zeros((*SIZE, 3), np.uint8)
    image[:16, :16] = 255  # Top left.
    path = render(tmp_path / "a.mp4", [image] * 5)
    turned(path, matrix)
    with media_video.open_media(path) as media:
        got = media_video.read_frames(media, 0.0, 2, 16)[0]
    assert got.shape[:2] == (SIZE if matrix[0] else SIZE[::-1])
    bright = {(y, x): got[y, x].mean() > 127 for y in (0, -1) for x in (0, -1)}
    assert [place for place, lit in bright.items() if lit] == [corner]


def test_pixels_become_square(tmp_path):
    path = render(tmp_path / "a.mp4", [numbered(5)] * 5, aspect=Fraction(3, 2))
    with media_video.open_media(path) as media:
        assert media_video.read_frames(media, 0.0, 1, 16).shape == (1, 48, 96, 3)
        assert media_video.read_frames(media, 0.0, 1, 16, short_side=24).shape == (1, 24, 48, 3)


def test_missing_stream_is_reported(tmp_path):
    silent = render(tmp_path / "v.mp4", [numbered(0)] * 5)
    with media_video.open_media(silent) as media:
        assert media.info.audio_start is None and media.info.sample_rate is None
        with fails("has no audio"):
            media_video.read_audio(media, 0.0, 100, 8000)
    blind = render(tmp_path / "a.mp4", wave=click(1.0, 48000, (0.5,)))
    with media_video.open_media(blind) as media:
        assert media.info.video_start is None and media.info.width is None
        with fails("has no video"):
            media_video.read_frames(media, 0.0, 1, 16)


def test_truncated_file_gives_its_data_and_reports_the_rest(tmp_path):
    rng = np.random.default_rng(0)
    frames = list(rng.integers(0, 255, (100, *SIZE, 3), dtype=np.uint8))
    wave = rng.integers(-9000, 9000, 4 * 48000).astype(np.int16)
    fast = render(tmp_path / "a.mp4", frames, wave=wave, options={"movflags": "faststart"})
    os.truncate(fast, os.path.getsize(fast) // 2)
    with media_video.open_media(fast) as media:
        assert (
            media_video.read_frames(media, 0.2, 4, 16).any()
            and media_video.read_audio(media, 0.2, 999, 8000).any()
        )
        with fails("a.mp4: "):
            media_video.read_frames(media, 3.0, 8, 16)
        with fails("a.mp4: "):
            media_video.read_audio(media, 2.5, 9999, 8000)
    slow = render(tmp_path / "b.mp4", frames[:50])
    os.truncate(slow, os.path.getsize(slow) // 2)
    with fails("b.mp4"), media_video.open_media(slow):
        pass


def test_non_media_file_is_refused(tmp_path):
    good = render(tmp_path / "good.mp4", [numbered(0)] * 5)
    for name, text in {
        "empty.mp4": "",
        "text.mp4": "not a video\n" * 100,
        "concat.mp4": f"ffconcat version 1.0\nfile '{os.path.basename(good)}'\n",
        "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{good}\n#EXT-X-ENDLIST\n",
    }.items():
        (tmp_path / name).write_text(text)
        with fails(name), media_video.open_media(tmp_path / name):
            pass
    os.mkfifo(tmp_path / "fifo.mp4")
    for name in ("fifo.mp4", "missing.mp4", ".", "nul\0.mp4"):
        with fails(None), media_video.open_media(f"{tmp_path}/{name}"):
            pass
    for address in ("http://127.0.0.1:9/a.mp4", f"concat:{good}|{good}", f"file:{good}"):
        with fails("No such file"), media_video.open_media(address):
            pass


def test_too_large_frames_and_files_are_refused(tmp_path, monkeypatch):
    path = render(tmp_path / "a.mp4", [numbered(i) for i in range(100)])
    monkeypatch.setattr("avjax.data.media.video.MAX_PIXELS", 1000)
    with media_video.open_media(path) as media, fails("at most 1000"):
        media_video.read_frames(media, 0.0, 1, 16)
    monkeypatch.undo()
    monkeypatch.setattr("avjax.data.media.packets.MAX_PACKETS", 10)
    with media_video.open_media(path) as media, fails("more than 10 packets"):
        media_video.read_frames(media, 3.0, 1, 16)


def test_media_error_survives_pickling():
    import pickle

    error = pickle.loads(pickle.dumps(media_video.MediaError("/a.mp4", "is odd")))
    assert (error.path, error.reason, str(error)) == ("/a.mp4", "is odd", "/a.mp4: is odd")


def test_two_channels_are_left_and_right(tmp_path):
    waves = click(2.0, 48000, (0.5,)), click(2.0, 48000, (1.5,))
    with av.open(str(tmp_path / "wide.mkv"), "w") as file:
        stream = file.add_stream("flac", rate=48000, layout="stereo")
        both = np.ascontiguousarray(np.stack(waves, 1).reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(both, format="s16", layout="stereo")
        frame.sample_rate, frame.pts = 48000, 0
        file.mux([*stream.encode(frame), *stream.encode(None)])
    narrow = render(tmp_path / "narrow.wav", wave=waves[0], codecs=(None, "pcm_s16le"))
    with media_video.open_media(str(tmp_path / "wide.mkv")) as media:
        sides = media_video.read_audio(media, 0.25, 40000, 24000, channels=2)
        mono = media_video.read_audio(media, 0.25, 40000, 24000)
    assert sides.shape == (40000, 2) and mono.shape == (40000,)
    np.testing.assert_allclose(np.abs(sides).argmax(0) / 24000, (0.25, 1.25), atol=0.002)
    np.testing.assert_allclose(sides.mean(1), mono, atol=1)
    with media_video.open_media(narrow) as media:
        sides = media_video.read_audio(media, 0.0, 48000, 48000, channels=2)
        np.testing.assert_array_equal(sides[:, 0], sides[:, 1])
        np.testing.assert_array_equal(sides[:, 0], media_video.read_audio(media, 0.0, 48000, 48000))
        with pytest.raises(ValueError, match="channels=6"):
            media_video.read_audio(media, 0.0, 48000, 48000, channels=6)
