"""Previews of files: the loudest two seconds, the frame shown in their middle."""

import numpy as np
import pytest

from avjax.data.media import preview
from avjax.data.media.container import MediaError
from tests.data.media.test_video import number, numbered, render

RATE = 16000


def burst(seconds, at, length=1.0):
    """Silence with a tone from `at` seconds on, int16 [N]."""
    wave = np.zeros(round(seconds * RATE), np.int16)
    time = np.arange(round(length * RATE)) / RATE
    wave[round(at * RATE) :][: len(time)] = 12000 * np.sin(2 * np.pi * 440 * time)
    return wave


def test_preview_is_the_loudest_part_and_its_frame(tmp_path):
    frames = [numbered(i) for i in range(200)]  # 8 s.
    path = render(
        tmp_path / "a.mkv", frames, wave=burst(8, 5, 2.0), rate=RATE, codecs=("libx264", "flac")
    )
    frame, audio = preview.read_preview(path, short_side=48)
    assert frame.shape == (48, 64, 3) and len(audio) == 2 * RATE
    assert np.abs(audio).min(initial=0) == 0 and (np.abs(audio.astype(int)) > 3000).mean() > 0.8
    assert abs(number(frame) - 6 * 25) <= 3  # The burst's middle is at 6 s.


def test_missing_stream_is_none(tmp_path):
    silent = render(tmp_path / "v.mkv", [numbered(i) for i in range(50)], codecs=("libx264", ""))
    frame, audio = preview.read_preview(silent, short_side=48)
    assert audio is None and abs(number(frame) - 25) <= 1  # Its middle.
    sound = render(tmp_path / "a.wav", wave=burst(0.5, 0, 0.5), rate=RATE, codecs=("", "pcm_s16le"))
    frame, audio = preview.read_preview(sound)
    assert frame is None and len(audio) == RATE // 2  # Shorter than two seconds: all of it.


def test_file_that_is_no_media_is_an_error(tmp_path):
    (tmp_path / "a.mp4").write_text("no media")
    with pytest.raises(MediaError):
        preview.read_preview(str(tmp_path / "a.mp4"))


def test_loudest_part_of_short_and_silent_audio():
    assert preview.loudest_part(np.zeros(0, np.int16), 10) == (0, 0)
    assert preview.loudest_part(np.ones(10, np.int16), 10) == (0, 10)
    assert preview.loudest_part(np.zeros(50, np.int16), 10) == (0, 10)
    wave = np.zeros(100, np.int16)
    wave[57:67] = -30000
    assert preview.loudest_part(wave, 10) == (57, 67)


def test_silence_gives_black_spectrogram_image():
    assert not preview.spectrogram(np.zeros(16000, np.int16), 16000).any()
