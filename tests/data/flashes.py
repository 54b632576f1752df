"""Media files whose truth is known: a dark picture with single white frames, a click with each."""

from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np

SECONDS = 4.0
EVENTS = (1.06, 2.11, 3.44)  # About when; each falls on the beginning of a frame.
CLICK = 0.001  # Seconds.
LOUD = 20_000
SIZE = (48, 64)  # Height, width.
MILLI = Fraction(1, 1000)
# Encoders made to be quick, with B-frames wherever they may stand.
PICTURE = {
    "h264": ("libx264", dict(crf="10", bf="0", g="250")),
    "h264 B": (
        "libx264",
        {"crf": "10", "bf": "3", "b-pyramid": "normal", "b_strategy": "0", "sc_threshold": "0",
         "g": "25"},
    ),
    "open gop": (
        "libx264",
        {"crf": "10", "bf": "3", "g": "12", "x264-params": "open-gop=1:scenecut=0:b-adapt=0"},
    ),
    "refresh": ("libx264", {"crf": "10", "x264-params": "intra-refresh=1:keyint=20:scenecut=0"}),
    "mpeg2 B": ("mpeg2video", dict(g="12", bf="2")),
    "mpeg4": ("mpeg4", dict(g="12")),
    "mpeg4 B": ("mpeg4", dict(g="12", bf="2")),
    "vp8": ("libvpx", {"deadline": "realtime", "cpu-used": "8", "g": "30", "b": "1M"}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "g": "30", "b": "1M"}),
    "av1": ("libsvtav1", {"preset": "13", "g": "30", "svtav1-params": "lp=1"}),
    "prores": ("prores_ks", {}),
    "mjpeg": ("mjpeg", {}),
}  # fmt: skip


class Kind(NamedTuple):
    """How a file is written.  fps None: a variable rate, 8 to 100 frames a second."""

    container: str
    fps: Fraction | None = Fraction(25)
    rate: int = 48_000
    picture: str = "h264"
    sound: str = "aac"
    video_start: float = 0.0
    audio_start: float = 0.0
    cut: float = 0.0  # Seconds of the beginning that an edit list hides.
    options: tuple[tuple[str, str], ...] = ()


class Truth(NamedTuple):
    """What happens in a file, in seconds of its clock."""

    video: tuple[float, float]  # Start and end.
    audio: tuple[float, float]
    flashes: tuple[tuple[float, float], ...]  # Each frame's beginning and end.
    clicks: tuple[float, ...]  # The middle of each.
    longest: float  # Of the frames.


def stamps(kind):
    """When each frame is shown, and when the last one ends: [n + 1] exact numbers of seconds."""
    if kind.fps is not None:
        return [Fraction(i) / kind.fps for i in range(round(SECONDS * kind.fps) + 1)]
    gaps = np.random.default_rng(0).integers(10, 121, 200)
    times = [0, *np.cumsum(gaps).tolist()]
    return [time * MILLI for time in times if time <= SECONDS * 1000]


def render(path, kind):
    """Writes the file; returns its Truth."""
    times = stamps(kind)
    lit = [min(range(len(times) - 1), key=lambda i: abs(times[i] - at)) for at in EVENTS]
    # Encoders take whole ticks of time, and so may begin a little beside what was asked for.
    tick = MILLI if kind.fps is None else 1 / kind.fps
    first = round(Fraction(kind.video_start) / tick) * tick
    lasting = {a: round((b - a) / tick) for a, b in zip(times, times[1:])}
    with av.open(str(path), "w", options=dict(kind.options)) as file:
        codec, options = PICTURE[kind.picture]
        video = file.add_stream(codec, rate=kind.fps or 25, options=options)
        video.height, video.width = SIZE
        video.pix_fmt = video.codec_context.codec.video_formats[0].name
        video.codec_context.time_base = tick
        video.codec_context.thread_count = 1
        sound = file.add_stream(kind.sound, rate=kind.rate, options={"strict": "experimental"})
        sound.codec_context.layout = "stereo" if kind.sound == "vorbis" else "mono"
        for stream, media in (
            (video, _pictures(times, lit, first, tick)),
            (sound, _sounds([first + times[i] for i in lit], kind)),
        ):
            for frame in (*media, None):
                for packet in stream.encode(frame):
                    if stream is video:  # Encoders guess it, wrongly at a variable rate.
                        packet.duration = lasting[packet.pts * packet.time_base - first]
                    _earlier(packet, kind.cut)
                    file.mux(packet)
    return _truth(kind, [float(first + time) - kind.cut for time in times], lit)


def _truth(kind, times, lit):
    heard = max(kind.audio_start - kind.cut, 0.0), kind.audio_start + SECONDS - kind.cut
    clicks = (times[i] + CLICK / 2 for i in lit)
    return Truth(
        video=(max(times[0], 0.0), times[-1]),
        audio=heard,
        flashes=tuple((times[i], times[i + 1]) for i in lit),
        clicks=tuple(time for time in clicks if heard[0] < time < heard[1]),
        longest=max(b - a for a, b in zip(times, times[1:])),
    )


def _pictures(times, lit, first, tick):
    for i, time in enumerate(times[:-1]):
        image = np.full((*SIZE, 3), 255 if i in lit else 16, np.uint8)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.pts, frame.time_base = round((first + time) / tick), tick
        frame.duration = round((times[i + 1] - time) / tick)
        yield frame


def _sounds(clicks, kind):
    wave = np.zeros(round(SECONDS * kind.rate), np.int16)
    for click in clicks:
        at = round((float(click) - kind.audio_start) * kind.rate)
        wave[at : at + round(CLICK * kind.rate)] = LOUD
    for k in range(0, len(wave), 1024):
        frame = av.AudioFrame.from_ndarray(wave[None, k : k + 1024], format="s16", layout="mono")
        frame.sample_rate, frame.time_base = kind.rate, Fraction(1, kind.rate)
        frame.pts = k + round(kind.audio_start * kind.rate)
        yield frame


def _earlier(packet, seconds):
    """Moves a packet; the muxer hides by an edit list what then comes before zero."""
    ticks = round(seconds / packet.time_base)
    packet.pts, packet.dts = packet.pts - ticks, packet.dts - ticks
