"""Which seconds of a file a clip takes: random windows to learn from, even ones to measure by."""

from typing import Callable, NamedTuple

import numpy as np


class View(NamedTuple):
    """What a clip is: how many frames and samples, and where in the file they lie.

    frames, fps:    the picture: `frames` at `fps`.  frames = 0 leaves the picture out.
    samples, rate:  the sound: `samples` at `rate` Hz.  samples = 0 leaves the sound out.
    count:          clips of one record.
    windows:        (info, rng) -> [(video_start, audio_start)] * count, in seconds on
                    the file's clock; `info` is a decode.Info.
    short_side:     scale frames on decoding so that their shorter side has that many
                    pixels; saves time with large pictures.  None: as they are.
    """

    frames: int
    fps: float
    samples: int
    rate: int
    count: int
    windows: Callable
    short_side: int | None = None


def random(frames, fps, seconds, rate, slack=0.5, short_side=None):
    """One clip of a file: a random window of sound, the frames random about it.

    The frames may begin up to `slack` seconds before the sound and end as much after
    it: the two occur together but are not in step.  slack=0 puts the frames inside the
    sound.  Audio-Visual Instance Discrimination, https://arxiv.org/abs/2004.12943.
    """
    length = frames / fps

    def windows(info, rng):
        span = _shared(info, frames, seconds)
        # Reference: each window fits within its own stream; the sound of AVID may begin
        # where the picture has already ended if the picture is the shorter stream.
        audio = _uniform(rng, span.low, min(span.audio_end - seconds, span.video_end - length))
        first = max(audio - slack, span.video_start)
        last = min(audio + seconds + slack, span.video_end) - length
        return [(_uniform(rng, first, last), audio)]

    return View(frames, fps, round(seconds * rate), rate, 1, windows, short_side)


def even(frames, fps, seconds, rate, count, short_side=None):
    """`count` clips evenly spaced over what sound and picture share, frames amid the sound.

    A file too short for one window gives the same clip `count` times.
    """
    length = frames / fps
    longest = max(length, seconds)

    def windows(info, rng):
        del rng
        span = _shared(info, frames, seconds)
        last = min(span.audio_end, span.video_end) - longest
        starts = np.linspace(span.low, max(span.low, last), count).tolist()
        return [(s + (longest - length) / 2, s + (longest - seconds) / 2) for s in starts]

    return View(frames, fps, round(seconds * rate), rate, count, windows, short_side)


def within(info, record):
    """The streams' spans, cut to the record's part of the file."""
    low, high = record.get("start"), record.get("end")
    spans = {}
    for name in ("video_start", "video_end", "audio_start", "audio_end"):
        time = getattr(info, name)
        if time is not None:
            time = max(time, low) if low is not None else time
            spans[name] = min(time, high) if high is not None else time
    return info._replace(**spans)


class _Span(NamedTuple):
    low: float
    video_start: float
    video_end: float
    audio_end: float


def _shared(info, frames, seconds):
    """Bounds of the windows; a stream that is missing or not asked for does not bind."""
    video = (info.video_start, info.video_end) if frames else (None, None)
    audio = (info.audio_start, info.audio_end) if seconds else (None, None)
    if video[0] is None:
        video = audio
    if audio[0] is None:
        audio = video
    if video[0] is None:  # Neither is asked for, or there.
        video = audio = (0.0, 0.0)
    return _Span(max(video[0], audio[0]), *video, audio[1])


def _uniform(rng, low, high):
    """U(low, high), or `low` where there is no room; always one draw."""
    return float(low + rng.random() * max(0.0, high - low))
