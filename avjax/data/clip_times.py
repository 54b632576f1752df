"""Start times of clips: what the clip samplers share."""

import math
from typing import NamedTuple

from avjax.data.media.media_file import MediaError

MIN_STREAM_SECONDS = 0.5  # Seconds of a stream that a record's part of a file must hold.


class Bounds(NamedTuple):
    low: float
    video_start: float
    video_end: float
    audio_end: float


def shared_span(info, num_frames, audio_seconds):
    """Bounds of the windows; a stream that is missing or not requested does not bind."""
    video = (info.video_start, info.video_end) if num_frames else (None, None)
    audio = (info.audio_start, info.audio_end) if audio_seconds else (None, None)
    if video[0] is None:
        video = audio
    if audio[0] is None:
        audio = video
    if video[0] is None:  # Neither is requested, or present.
        video = audio = (0.0, 0.0)
    return Bounds(max(video[0], audio[0]), *video, audio[1])


def center_offsets(video_seconds, audio_seconds):
    """(length of a clip, offset of its frames, offset of its audio), all in seconds."""
    clip_seconds = max(video_seconds, audio_seconds)
    return clip_seconds, (clip_seconds - video_seconds) / 2, (clip_seconds - audio_seconds) / 2


def sample_starts(rng, room, low, high, shift):
    """Starts in [0, room] of a clip, of its shifted audio and, with a shift, of the overlapping
    one.

    With a shift there are two pairs of starts, `shift` apart within and `low` to `high`
    across: the clip is any of the four, so each kind of audio is equally likely at each.
    """
    if shift is None:
        return sample_pair(rng, room, low, high)
    own, other = sample_pair(rng, room - shift, low + shift, high - shift)
    own_late, other_late = rng.random(2) < 0.5
    return own + shift * own_late, other + shift * other_late, own + shift * (not own_late)


def sample_pair(rng, room, low, high):
    """Two starts in [0, room], `low` to `high` apart, uniform over all such pairs."""
    # Starts d apart leave room - d for the earlier one, so that d is as likely as that is long.
    near, far = room - min(high, room), room - low
    left = math.sqrt(near**2 + rng.random() * (far**2 - near**2))
    first = rng.random() * left
    pair = first, first + room - left
    return pair if rng.random() < 0.5 else pair[::-1]


def draw_uniform(rng, low, high):
    """U(low, high), or `low` where there is no room; always one random number."""
    return float(low + rng.random() * max(0.0, high - low))


def restrict_to_record(info, record):
    """Returns `info` with both streams restricted to the record's part of the file.

    A stream is None if less than half a second (or half of what there could be) of it lies
    in that part.

    Args:
      info: a media_video.Info.
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
