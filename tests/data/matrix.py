"""A matrix of small media files, good and bad, each with what must come of it.

`files(folder, url, secret)` writes them all.  The good ones show pictures that tell
their number and sound a click at 1.3 s, so that what is decoded can be told from what
should be.  Files that the FFmpeg at hand has no encoder for are left out.
"""

import functools
import os
import pathlib
from fractions import Fraction
from typing import Callable, NamedTuple

import av
import numpy as np

from tests.data import bombs, writing
from tests.data.media.test_video import SIZE, click
from tests.data.writing import CLICK, LENGTH, PCM, PICTURES, WAVE


class File(NamedTuple):
    """How a file is written, and what its clip must be.

    write:    path -> None.
    refused:  a text in the reason why it gives no clip; None: it must give one.
    either:   a clip or a named reason will do, since damage may hit anything.
    size:     [H, W] of its pictures; None without.
    shown:    seconds -> number of the picture; None: any.
    click:    seconds at which it sounds; None: any sound, or none.
    """

    write: Callable
    refused: str | None = None
    either: bool = False
    size: tuple | None = SIZE
    shown: Callable | None = lambda t: int(t * 25)
    click: float | None = CLICK


def _later(by):
    """What is shown at a time if the pictures come `by` seconds later."""
    return lambda t: int((t - by) * 25 + 0.01)


def _of(stamps):
    return lambda t: int(np.searchsorted(stamps, t * 1000 + 0.6, side="right")) - 1


def _plain(**how):
    return lambda path: writing.media(path, **how)


def _noisy(rate, layout="mono", **how):
    """Sound alone, at a rate of its own."""
    how = dict(pictures=None, wave=click(LENGTH, rate, (CLICK,)), rate=rate, layout=layout) | how
    return File(_plain(**how), size=None, shown=None)


UNEVEN = [0, 40, 80, 700, 710, 800, 830, 900, 1000, 1010, 1020, 1200, 1900, 2300]
FAR = [40 * i for i in range(59)] + [36_000_000]  # The last picture comes after ten hours.
ODD = [image[:47, :63] for image in PICTURES]
TINY = [image[:1, :1] for image in PICTURES]
QUIET = np.zeros_like(WAVE)
BROKEN = np.where(WAVE == 0, 0.0, np.nan).astype(np.float32)
X265 = {"x265-params": "log-level=none"}
VP9 = dict(video="libvpx-vp9", audio="libopus", coding={"deadline": "realtime", "cpu-used": "8"})

GOOD = {
    "plain.mp4": File(_plain()),
    "faststart.mp4": File(_plain(muxing={"movflags": "faststart"})),
    "fragmented.mp4": File(  # Without an edit list, so that it begins two pictures late.
        _plain(muxing={"movflags": "frag_keyframe+empty_moov"}), shown=_later(0.08), click=CLICK + 0.08
    ),
    "plain.mkv": File(_plain(audio="libopus")),
    "plain.mov": File(_plain(video="mjpeg", pixels="yuvj420p", **PCM)),
    "plain.avi": File(_plain(video="mpeg4", **PCM)),
    "plain.webm": File(_plain(**VP9)),
    "vp8.webm": File(_plain(**VP9 | dict(video="libvpx"))),
    "plain.flv": File(_plain(video="flv"), shown=_later(0.021), click=CLICK + 0.021),
    "plain.ts": File(_plain(), shown=None, click=None),  # A clock of its own.
    "plain.mpg": File(_plain(video="mpeg2video", audio="mp2"), shown=None, click=None),
    "no_audio.mp4": File(_plain(wave=None), click=None),
    "short_audio.mp4": File(_plain(wave=WAVE[:36000]), click=None),
    "long_audio.mp4": File(_plain(pictures=PICTURES[:30]), shown=None),
    "late_audio.mp4": File(_plain(starts=(0.0, 0.4)), click=CLICK + 0.4),
    "late_video.mp4": File(_plain(starts=(0.2, 0.0)), shown=_later(0.2)),
    "negative.mp4": File(_plain(starts=(-0.4, -0.4)), shown=_later(-0.4), click=CLICK - 0.4),
    "negative.mkv": File(
        _plain(starts=(-0.4, -0.4), muxing={"avoid_negative_ts": "disabled"}),
        shown=_later(-0.4), click=CLICK - 0.4,
    ),
    "uneven.mp4": File(_plain(pictures=PICTURES[:14], stamps=UNEVEN), shown=_of(UNEVEN)),
    "uneven.mkv": File(_plain(pictures=PICTURES[:14], stamps=UNEVEN, **PCM), shown=_of(UNEVEN)),
    "ten_hours.mp4": File(_plain(stamps=FAR)),
    "ten_hours.mkv": File(_plain(stamps=FAR)),
    "edit_list.mp4": File(writing.edited, shown=_later(-0.4)),
    "right.mp4": File(lambda path: writing.tilted(path, 1)),
    "upside_down.mp4": File(lambda path: writing.tilted(path, 2)),
    "left.mp4": File(lambda path: writing.tilted(path, 3)),
    "wide_pixels.mp4": File(_plain(aspect=Fraction(3, 2)), size=(48, 96)),
    "odd.mkv": File(_plain(pictures=ODD, pixels="yuv444p"), size=(47, 63)),
    "odd_vp9.webm": File(_plain(pictures=ODD, **VP9), size=(47, 63)),
    "one_pixel.mkv": File(_plain(pictures=TINY, video="ffv1", pixels="gray"), size=(1, 1), shown=None),
    "one_picture.mp4": File(_plain(pictures=PICTURES[:1]), shown=lambda t: 0),
    "two_by_two.mp4": File(_plain(pictures=[i[:2, :2] for i in PICTURES]), size=(2, 2), shown=None),
    "ten_bits.mp4": File(_plain(pixels="yuv420p10le")),
    "ten_bits_hevc.mp4": File(
        _plain(video="libx265", pixels="yuv420p10le", coding=X265)
    ),
    "chroma_444.mp4": File(_plain(pixels="yuv444p")),
    "interlaced.mp4": File(_plain(coding={"flags": "+ilme+ildct", "x264-params": "tff=1"})),
    "interlaced.mpg": File(
        _plain(video="mpeg2video", audio="mp2", coding={"flags": "+ilme+ildct"}), shown=None, click=None
    ),
    "alpha.mov": File(_plain(video="qtrle", pixels="argb", **PCM)),
    "alpha.webm": File(_plain(pixels="yuva420p", **VP9)),
    "gray.mkv": File(_plain(video="ffv1", pixels="gray")),
    "gray_16.mkv": File(_plain(video="ffv1", pixels="gray16le")),
    "raw.avi": File(_plain(video="rawvideo", pixels="bgr24", **PCM)),
    "no_rate.avi": File(writing.without_rate, shown=None, click=None),
    "resized.ts": File(writing.resized, shown=None, click=None),
    "joined.ts": File(writing.joined, refused="clock restarts"),
    "joined.mpg": File(
        lambda path: writing.joined(path, video="mpeg2video", audio="mp2"), refused="clock restarts"
    ),
    "eight_k.mov": File(
        _plain(
            pictures=[np.full((4320, 7680, 3), 99, np.uint8)] * 2, video="mjpeg", pixels="yuvj420p", **PCM
        ),
        refused="at most|Invalid",
    ),
    "silent.mp4": File(_plain(wave=QUIET), click=None),
    "with_cover.mp4": File(writing.covered),
}  # fmt: skip

SOUNDS = {
    "8k.wav": _noisy(8000, audio="pcm_u8"),
    "11k.wav": _noisy(11025, **PCM),
    "11k.mp3": _noisy(11025, audio="libmp3lame"),
    "96k.flac": _noisy(96000, audio="flac"),
    "24_bits.flac": _noisy(48000, audio="flac", kind="s32"),
    "24_bits.wav": _noisy(44100, audio="pcm_s24le"),
    "32_bits.wav": _noisy(44100, audio="pcm_s32le"),
    "float.wav": _noisy(48000, audio="pcm_f32le"),
    "double.wav": _noisy(48000, audio="pcm_f64le"),
    "planar.mov": _noisy(48000, audio="alac", layout="stereo"),
    "stereo.mp3": _noisy(44100, audio="libmp3lame", layout="stereo"),
    "six.wav": _noisy(48000, layout="5.1", **PCM),
    "six.m4a": _noisy(48000, audio="aac", layout="5.1"),
    "eight.flac": _noisy(48000, audio="flac", layout="7.1"),
    "sixteen.m4a": _noisy(48000, audio="aac", layout="hexadecagonal"),
    "opus.ogg": _noisy(48000, audio="libopus"),
    "vorbis.ogg": _noisy(48000, audio="vorbis", layout="stereo"),
    "flac.ogg": _noisy(48000, audio="flac"),
    "aac.aac": _noisy(48000, audio="aac")._replace(click=CLICK + 1024 / 48000),
    "not_a_number.wav": _noisy(48000, wave=BROKEN, audio="pcm_f32le")._replace(click=None),
    "cover.mp3": File(writing.with_cover, size=None, shown=None),
}


def _damaged(whole):
    """{name: (bytes, refused)} from whole files, name -> bytes; refused None: that is open."""
    rng, made = np.random.default_rng(0), {}
    for name in ("plain.mp4", "faststart.mp4", "plain.mkv", "plain.avi", "11k.wav", "96k.flac"):
        data, end = whole[name], "Invalid data" if name == "plain.mp4" else None
        for percent in (10, 30, 50, 70, 95):
            made[f"cut_{percent}_{name}"] = data[: len(data) * percent // 100], end
    names = [name for name in whole if name.startswith("plain.")]
    for name, other in zip(names, [*names[1:], names[0]]):
        one, two = bytearray(whole[name]), whole[other]
        made[f"spliced_{name}"] = bytes(one[: len(one) // 2]) + two[len(two) // 2 :], None
        for place in rng.integers(0, len(one), len(one) // 1000 + 3):
            one[place] ^= 1 << int(rng.integers(8))
        made[f"flipped_{name}"] = bytes(one), None
    head = whole["faststart.mp4"]
    made["header_only.mp4"] = head[: head.index(b"mdat") - 4], "no data|cut short|Invalid"
    made["header_only.mkv"] = whole["plain.mkv"][:64], "Error: "
    made["header_only.wav"] = whole["11k.wav"][:44], None
    made["type_only.mp4"] = head[:32], "Invalid data"
    made["zero.mp4"] = b"", "Invalid data|End of file"
    made["noise.mp4"] = rng.bytes(50_000), "Invalid data"
    made["words.mp4"] = b"not a film\n" * 500, "Invalid data"
    made["picture.mp4"] = writing.jpeg(), "Invalid"
    return made


def written(folder, files):
    """Writes files; returns those of them for which there is an encoder."""
    made = {}
    for name, file in files.items():
        try:
            file.write(os.path.join(folder, name))
            made[name] = file
        except av.codec.codec.UnknownCodecError:
            if os.path.exists(os.path.join(folder, name)):
                os.remove(os.path.join(folder, name))
    return made


def files(folder, url, secret):
    """Writes all files into `folder`; returns {name: File}.

    url, secret: an address and a file elsewhere, which lists and references point to.
    """
    made = written(folder, GOOD | SOUNDS)
    whole = {name: pathlib.Path(folder, name).read_bytes() for name in made}
    lists = {
        name: (text.encode(), "Invalid") for name, text in bombs.playlists(url, secret).items()
    }
    bad = bombs.files(secret, File)
    for name, (data, refused) in (_damaged(whole) | lists).items():
        write = functools.partial(_put, data)
        bad[name] = File(write, refused, either=refused is None, shown=None, click=None)
    return made | written(folder, bad)


def _put(data, path):
    pathlib.Path(path).write_bytes(data)
