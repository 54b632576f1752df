"""Start times of clips: what the clip samplers share."""

import math
from typing import NamedTuple

import numpy as np

from avjax.data.media.media_file import Info, MediaError

TIME_TOLERANCE = 1e-5  # Seconds by which times may be off, which are sums of floats.
MIN_STREAM_SECONDS = 0.5  # Seconds of a stream that a record's part of a file must hold.


class Bounds(NamedTuple):
    """Where clips of a record may lie, in seconds on the file's clock.

    Attributes:
      low: the later start of the two streams.
      video_start, video_end: of the video.
      audio_end: of the audio.
    """

    low: float
    video_start: float
    video_end: float
    audio_end: float


def shared_span(info: Info, num_frames: int, audio_seconds: float) -> Bounds:
    """Bounds of the windows; a stream that is missing or not requested does not bind.

    Args:
      info: times of the streams, both or neither of a stream's start and end.
      num_frames, audio_seconds: of a clip; 0 for a stream that is not requested.
    """
    video = (info.video_start, info.video_end) if num_frames else (None, None)
    audio = (info.audio_start, info.audio_end) if audio_seconds else (None, None)
    video_start, video_end = audio if video[0] is None else video
    audio_start, audio_end = video if audio[0] is None else audio
    if video_start is None or audio_start is None:  # Neither is requested, or present.
        return Bounds(0.0, 0.0, 0.0, 0.0)
    assert video_end is not None and audio_end is not None
    return Bounds(max(video_start, audio_start), video_start, video_end, audio_end)


def center_offsets(video_seconds: float, audio_seconds: float) -> tuple[float, float, float]:
    """(length of a clip, offset of its frames, offset of its audio), all in seconds."""
    clip_seconds = max(video_seconds, audio_seconds)
    return clip_seconds, (clip_seconds - video_seconds) / 2, (clip_seconds - audio_seconds) / 2


def sample_starts(
    rng: np.random.Generator, free_seconds: float, low: float, high: float, shift: float | None
) -> tuple[float, ...]:
    """Starts in [0, free_seconds] of a clip, its shifted audio and, with a shift, the overlapping.

    With a shift there are two pairs of starts, `shift` apart within and `low` to `high`
    across: the clip is any of the four, so each kind of audio is equally likely at each.

    Args:
      rng: the generator.
      free_seconds: seconds from the first to the last possible start.
      low, high: least and largest distance of the shifted audio, in seconds.
      shift: distance of the overlapping audio, in seconds; None for no such audio.
    """
    if shift is None:
        return sample_pair(rng, free_seconds, low, high)
    own, other = sample_pair(rng, free_seconds - shift, low + shift, high - shift)
    own_late, other_late = rng.random(2) < 0.5
    return own + shift * own_late, other + shift * other_late, own + shift * (not own_late)


def sample_pair(
    rng: np.random.Generator, free_seconds: float, low: float, high: float
) -> tuple[float, float]:
    """Two starts in [0, free_seconds], `low` to `high` apart, uniform over all such pairs."""
    # Starts d apart leave free_seconds - d for the earlier one: d is as likely as that is long.
    near, far = free_seconds - min(high, free_seconds), free_seconds - low
    left = math.sqrt(near**2 + rng.random() * (far**2 - near**2))
    first = rng.random() * left
    pair = first, first + free_seconds - left
    return pair if rng.random() < 0.5 else (pair[1], pair[0])


def draw_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """U(low, high), or `low` where there is no room; always one random number."""
    return float(low + rng.random() * max(0.0, high - low))


def restrict_to_record(info: Info, record: dict) -> Info:
    """Returns `info` with both streams restricted to the record's part of the file.

    A stream is None if less than half a second (or half of what there could be) of it lies
    in that part.

    Args:
      info: times of the streams of the file.
      record: a record of a Source; its `start` and `end`, in seconds, are optional.

    Raises:
      MediaError: without a path, if no stream is left.
    """
    low, high = record.get("start"), record.get("end")
    low, high = (-math.inf if low is None else low), (math.inf if high is None else high)
    spans = {}
    for kind in ("video", "audio"):
        start, end = getattr(info, f"{kind}_start"), getattr(info, f"{kind}_end")
        if start is not None:
            first, last = max(start, low), min(end, high)
            is_present = last - first >= min(
                MIN_STREAM_SECONDS, (end - start) / 2, (high - low) / 2
            )
            spans |= {f"{kind}_start": first if is_present else None}
            spans |= {f"{kind}_end": last if is_present else None}
    clipped = info._replace(**spans)
    if spans and clipped.video_start is None and clipped.audio_start is None:
        stream_ends = [end for end in (info.video_end, info.audio_end) if end is not None]
        raise MediaError(
            "",
            f"its segment, {low:g} to {high:g} s, lies outside the file, which ends at "
            f"{max(stream_ends):.3f} s: correct the list; for files that are already cut to their "
            "segments, omit start and end (AudioSet: trimmed=True)",
        )
    return clipped
