"""Which seconds of a file a clip takes: random windows to learn from, even ones to measure by."""

import math
from typing import Callable, NamedTuple

import numpy as np

from avjax.config import ranges
from avjax.data.media.media_file import MediaError

LEAST = 0.5  # Seconds of a stream that a segment of a file must hold.
SOUNDS = ("audio", "shifted", "overlapping")  # Of a clip, in the order of a window's starts.


class View(NamedTuple):
    """What a clip is: how many frames and samples, and where in the file they lie.

    frames, fps:    the picture: `frames` at `fps`.  frames = 0 leaves the picture out.
    samples, rate:  the sound: `samples` at `rate` Hz.  samples = 0 leaves the sound out.
    count:          clips of one record.
    windows:        (info, rng) -> [(video_start, audio_start)] * count, in seconds on
                    the file's clock; `info` is a media_video.Info.  A third start is that
                    of the clip's sound at another time, "shifted", a fourth that of
                    "overlapping".  A MediaError without a path says that the record has
                    no such windows: it counts as broken.
    short_side:     scale frames on decoding so that their shorter side has that many
                    pixels; saves time with large pictures.  None: as they are.
    channels:       1 mixes the sound down to [samples]; 2 keeps [samples, 2].
    """

    frames: int
    fps: float
    samples: int
    rate: int
    count: int
    windows: Callable
    short_side: int | None = None
    channels: int = 1


def cut(view, window, frames, sound):
    """The clip of one of a view's windows, from frames(start) [T, H, W, 3] and sound(start) [N]."""
    clip = {"video": frames(window[0])} if view.frames else {}
    if view.samples:
        clip |= dict(zip(SOUNDS, map(sound, window[1:])))
    return clip


def silence(view):
    """What stands for sound that is missing: int16 zeros, [N] or [N, channels]."""
    shape = (view.samples,) if view.channels == 1 else (view.samples, view.channels)
    return np.zeros(shape, np.int16)


def subsamples(kept: float, fps: float) -> bool:
    """Whether a clip of `fps` frames per second takes every n-th of `kept` frames per second."""
    ratio = kept / fps
    return round(ratio) >= 1 and abs(ratio - round(ratio)) < 1e-6


def random(
    frames: int, fps: float, seconds: float, rate: int, slack: float = 0.5,
    short_side: int | None = None, count: int = 1, channels: int = 1,
) -> View:  # fmt: skip
    """`count` clips of a file: a random window of sound each, the frames random about it.

    The frames may begin up to `slack` seconds before the sound and end as much after
    it: the two occur together but are not in step.  slack=0 puts the frames inside the
    sound, in step with it if they last as long.  Clips of one file are independent draws.
    Audio-Visual Instance Discrimination, https://arxiv.org/abs/2004.12943.
    """
    _check(frames, fps, seconds, rate, short_side, count, channels)
    ranges.number("slack", slack, least=0)
    length = frames / fps

    def window(span, rng):
        # Reference: AVID draws the sound alike, but its frames may begin up to the end of the
        # picture; here their whole window lies within it.
        audio = _uniform(rng, span.low, min(span.audio_end - seconds, span.video_end - length))
        first = max(audio - slack, span.video_start)
        last = min(audio + seconds + slack, span.video_end) - length
        return _uniform(rng, first, last), audio

    def windows(info, rng):
        span = _shared(info, frames, seconds)
        return [window(span, rng) for _ in range(count)]

    return View(frames, fps, round(seconds * rate), rate, count, windows, short_side, channels)


def even(
    frames: int, fps: float, seconds: float, rate: int, count: int,
    short_side: int | None = None, channels: int = 1,
) -> View:  # fmt: skip
    """`count` clips evenly spaced over what sound and picture share, frames amid the sound.

    The first clip starts where both have started and the last ends where one of them ends; a single
    clip is the middle one.  A file too short for one window gives the same clip `count` times.
    """
    # Reference: AVID spaces frames and sound each for itself, from start to end of its stream.
    _check(frames, fps, seconds, rate, short_side, count, channels)
    longest, video, audio = _amid(frames / fps, seconds)

    def windows(info, rng):
        del rng
        span = _shared(info, frames, seconds)
        last = max(span.low, min(span.audio_end, span.video_end) - longest)
        starts = np.linspace(span.low, last, count) if count > 1 else [(span.low + last) / 2]
        return [(float(s) + video, float(s) + audio) for s in starts]

    return View(frames, fps, round(seconds * rate), rate, count, windows, short_side, channels)


def shifted(
    frames: int, fps: float, seconds: float, rate: int,
    offset: tuple[float, float | None], overlapping: float | None = None,
    short_side: int | None = None, count: int = 1, channels: int = 1,
) -> View:  # fmt: skip
    """`count` clips with frames amid the sound, in step, and the sound of other times of the file.

    offset: (low, high) seconds between the starts of the two sounds, either way; high None
    is as far as the file goes.  AVTS's hard negatives do not overlap and are half a second
    apart, (seconds + 0.5, None).
    overlapping: AVTS's super-hard ones beside them, so many seconds from the clip's own sound,
    either way, and overlapping it.  Easy ones, sound of other records, are in every batch.

    All sounds lie in what picture and sound share.  Any two starts are, exchanged, as likely,
    so when a sound occurs tells nothing of whether it belongs; without `overlapping` all pairs
    so far apart are equally likely.  A file too short for the offsets counts as broken.
    Cooperative Learning of Audio and Video Models from Self-Supervised Synchronization,
    https://arxiv.org/abs/1807.00230.
    """
    _check(frames, fps, seconds, rate, short_side, count, channels)
    low, high = offset[0], math.inf if offset[1] is None else offset[1]
    if not 0 < low <= high:
        raise ValueError(
            f"offset={tuple(offset)}: use (low, high), 0 < low <= high, or None as high"
        )
    if not seconds > 0:
        raise ValueError(f"shifted sound of {seconds} s: use more than 0")
    if overlapping is not None and not (
        0 < overlapping < seconds and low + 2 * overlapping <= high
    ):
        raise ValueError(
            f"overlapping={overlapping}: use more than 0 s, less than the sound's {seconds} s and "
            f"at most half of what is between {low} and {high} s of the offset"
        )
    longest, video, audio = _amid(frames / fps, seconds)
    least = low + 2 * (overlapping or 0.0)

    def windows(info, rng):
        span = _shared(info, frames, seconds)
        room = min(span.audio_end, span.video_end) - longest - span.low
        if room < least:
            raise MediaError(
                "",
                f"is too short: picture and sound share {max(0.0, room + longest):.3f} s, and "
                f"clips {least:g} s apart take {least + longest:g} s; leave it out of the list",
            )
        begin = span.low + audio
        sets = [_times(rng, room, low, high, overlapping) for _ in range(count)]
        return [(span.low + video + t[0], *(begin + x for x in t)) for t in sets]

    return View(frames, fps, round(seconds * rate), rate, count, windows, short_side, channels)


def _check(frames, fps, seconds, rate, short_side, count, channels):
    ranges.whole("frames", frames, 0)
    ranges.number("fps", fps, above=0)
    ranges.number("seconds", seconds, least=0)
    ranges.whole("rate", rate, 1)
    ranges.whole("count", count, 1)
    ranges.whole("channels", channels, 1, 2)
    if short_side is not None:
        ranges.whole("short_side", short_side, 1)
    if not frames and round(seconds * rate) < 1:
        raise ValueError(f"frames={frames}, seconds={seconds}: a clip needs one of them above 0")


def within(info, record):
    """The streams' spans, cut to the record's part of the file.

    A stream of which less than half a second (or half of what there could be) lies in that part
    is missing there: None.  A MediaError without a path says that this holds for all streams.
    """
    low, high = record.get("start"), record.get("end")
    low, high = (-math.inf if low is None else low), (math.inf if high is None else high)
    spans = {}
    for kind in ("video", "audio"):
        start, end = getattr(info, f"{kind}_start"), getattr(info, f"{kind}_end")
        if start is not None:
            first, last = max(start, low), min(end, high)
            there = last - first >= min(LEAST, (end - start) / 2, (high - low) / 2)
            spans |= {f"{kind}_start": first if there else None}
            spans |= {f"{kind}_end": last if there else None}
    cut = info._replace(**spans)
    if spans and cut.video_start is None and cut.audio_start is None:
        ends = [end for end in (info.video_end, info.audio_end) if end is not None]
        raise MediaError(
            "",
            f"its segment, {low:g} to {high:g} s, lies outside the file, which ends at "
            f"{max(ends):.3f} s: correct the list; of files that are already cut to their segments "
            "leave start and end out (AudioSet: trimmed=True)",
        )
    return cut


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


def _amid(length, seconds):
    """The longer of picture and sound, and how long after it either begins to lie in its middle."""
    longest = max(length, seconds)
    return longest, (longest - length) / 2, (longest - seconds) / 2


def _times(rng, room, low, high, shift):
    """Starts in [0, room] of a clip, of its shifted sound and, with a shift, the overlapping one.

    With a shift there are two pairs of starts, `shift` apart within and `low` to `high` across:
    the clip is any of the four, so each kind of sound is as likely at each of them.
    """
    if shift is None:
        return _apart(rng, room, low, high)
    own, other = _apart(rng, room - shift, low + shift, high - shift)
    late, later = rng.random(2) < 0.5
    return own + shift * late, other + shift * later, own + shift * (not late)


def _apart(rng, room, low, high):
    """Two starts in [0, room], `low` to `high` apart, every such pair as likely."""
    # Starts d apart leave room - d for the earlier one, so that d is as likely as that is long.
    near, far = room - min(high, room), room - low
    left = math.sqrt(near**2 + rng.random() * (far**2 - near**2))
    first = rng.random() * left
    pair = first, first + room - left
    return pair if rng.random() < 0.5 else pair[::-1]


def _uniform(rng, low, high):
    """U(low, high), or `low` where there is no room; always one draw."""
    return float(low + rng.random() * max(0.0, high - low))
