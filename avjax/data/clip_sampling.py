"""Clip sampling: random clips for training, uniformly spaced clips for evaluation."""

import math
from typing import Callable, NamedTuple

import numpy as np

from avjax.config import ranges
from avjax.data import clip_times
from avjax.data.media.media_file import MediaError


class ClipSampler(NamedTuple):
    """How many frames and audio samples a clip has, and where in its file they lie.

    Attributes:
      num_frames: frames per clip; 0 for clips without video.
      fps: frames per second of the clip.
      num_samples: audio samples per clip; 0 for clips without audio.
      sample_rate: of the audio, in Hz.
      num_clips: clips per record; 1 if `varies`.
      sample: (info, rng) -> [(video_start, audio_start, ...)] * num_clips, in seconds on
        the file's clock; `info` is a media_video.Info.  A third start is that of the key
        "shifted", a fourth that of "overlapping": audio of other times of the file.
        Raises a MediaError without a path if the record is too short; the record then
        counts as unreadable.
      short_side: while decoding, frames are scaled to this many pixels on their shorter
        side; None keeps their size.
      channels: 1 for mono audio [num_samples], 2 for stereo [num_samples, 2].
      varies: whether the number of clips differs by record, for evaluation only: `sample` then
        returns all of them, one or more, and does not use its random numbers.
    """

    num_frames: int
    fps: float
    num_samples: int
    sample_rate: int
    num_clips: int
    sample: Callable
    short_side: int | None = None
    channels: int = 1
    varies: bool = False


def random(
    num_frames: int, fps: float, audio_seconds: float, sample_rate: int,
    max_offset_seconds: float = 0.5, short_side: int | None = None, num_clips: int = 1,
    channels: int = 1,
) -> ClipSampler:  # fmt: skip
    """Samples `num_clips` clips per record, with independent random times.

    The audio window is uniform over the file.  The frames may begin up to
    `max_offset_seconds` before the audio and end as much after it: both occur together but
    are not synchronized.  max_offset_seconds=0 keeps the frames within the audio, and
    synchronized with it if they last as long.
    Audio-Visual Instance Discrimination, https://arxiv.org/abs/2004.12943.

    Args:
      num_frames: frames per clip, at `fps` frames per second; 0 for audio only.
      audio_seconds: seconds of audio per clip, at `sample_rate` Hz; 0 for video only.
      max_offset_seconds: see above.
      short_side, num_clips, channels: see ClipSampler.

    Raises:
      ValueError: for an argument out of its range.
    """
    _check_arguments(num_frames, fps, audio_seconds, sample_rate, short_side, num_clips, channels)
    ranges.check_number("max_offset_seconds", max_offset_seconds, minimum=0)
    video_seconds = num_frames / fps

    def sample_one(span, rng):
        # Reference: AVID draws the audio alike, but its frames may begin up to the end of the
        # video; here their whole window lies within it.
        audio = clip_times.draw_uniform(
            rng, span.low, min(span.audio_end - audio_seconds, span.video_end - video_seconds)
        )
        first = max(audio - max_offset_seconds, span.video_start)
        last = min(audio + audio_seconds + max_offset_seconds, span.video_end) - video_seconds
        return clip_times.draw_uniform(rng, first, last), audio

    def sample(info, rng):
        span = clip_times.shared_span(info, num_frames, audio_seconds)
        return [sample_one(span, rng) for _ in range(num_clips)]

    size = num_frames, fps, round(audio_seconds * sample_rate), sample_rate, num_clips
    return ClipSampler(*size, sample, short_side, channels)


def uniform(
    num_frames: int, fps: float, audio_seconds: float, sample_rate: int, num_clips: int,
    short_side: int | None = None, channels: int = 1,
) -> ClipSampler:  # fmt: skip
    """Samples `num_clips` clips per record, uniformly spaced over what video and audio share.

    Frames and audio of a clip have the same center.  The first clip starts at the
    later start of the two streams and the last one ends at the earlier end; a single clip is
    in the middle.  In a file shorter than a clip all clips are the same.

    Args: as of `random`.
    """
    # Reference: AVID spaces frames and audio separately, from start to end of each stream.
    _check_arguments(num_frames, fps, audio_seconds, sample_rate, short_side, num_clips, channels)
    clip_seconds, video_offset, audio_offset = clip_times.center_offsets(
        num_frames / fps, audio_seconds
    )

    def sample(info, rng):
        del rng
        span = clip_times.shared_span(info, num_frames, audio_seconds)
        last = max(span.low, min(span.audio_end, span.video_end) - clip_seconds)
        starts = (
            np.linspace(span.low, last, num_clips) if num_clips > 1 else [(span.low + last) / 2]
        )
        return [(float(s) + video_offset, float(s) + audio_offset) for s in starts]

    size = num_frames, fps, round(audio_seconds * sample_rate), sample_rate, num_clips
    return ClipSampler(*size, sample, short_side, channels)


def sliding(
    num_frames: int, fps: float, audio_seconds: float, sample_rate: int,
    stride_seconds: float | None = None, short_side: int | None = None, channels: int = 1,
) -> ClipSampler:  # fmt: skip
    """Samples clips at equal distances that cover all that video and audio share.

    The first one starts with the later start of the two streams, and the last one is the first
    that reaches the earlier end: of a file of D seconds there are 1 + ceil((D - clip) / stride),
    for evaluation only.  Frames and audio of a clip have the same center.  Past the end of the
    video the frames of the last clip repeat from its start; past the end of the audio is silence.
    CCL evaluates on 16 frames without overlap, https://arxiv.org/abs/2104.10955.

    Args:
      stride_seconds: from the start of a clip to that of the next; None for their length.
      num_frames, fps, audio_seconds, sample_rate, short_side, channels: as of `random`.

    Raises:
      ValueError: for an argument out of its range.
    """
    _check_arguments(num_frames, fps, audio_seconds, sample_rate, short_side, 1, channels)
    clip_seconds, video_offset, audio_offset = clip_times.center_offsets(
        num_frames / fps, audio_seconds
    )
    stride = clip_seconds if stride_seconds is None else stride_seconds
    if not 0 < stride <= clip_seconds:
        raise ValueError(
            f"stride_seconds={stride_seconds}: use more than 0 and at most {clip_seconds:g} s, the "
            "length of a clip, since clips further apart do not cover the file"
        )

    def sample(info, rng):
        del rng
        span = clip_times.shared_span(info, num_frames, audio_seconds)
        rest = min(span.audio_end, span.video_end) - span.low - clip_seconds
        count = 1 + max(0, math.ceil((rest - clip_times.TIME_TOLERANCE) / stride))
        starts = [span.low + i * stride for i in range(count)]
        return [(start + video_offset, start + audio_offset) for start in starts]

    size = num_frames, fps, round(audio_seconds * sample_rate), sample_rate, 1
    return ClipSampler(*size, sample, short_side, channels, varies=True)


def with_shifted_audio(
    num_frames: int, fps: float, audio_seconds: float, sample_rate: int,
    min_max_shift: tuple[float, float | None], overlap_shift: float | None = None,
    short_side: int | None = None, num_clips: int = 1, channels: int = 1,
) -> ClipSampler:  # fmt: skip
    """Samples `num_clips` synchronized clips per record, with audio of other times beside them.

    Any two start times are as likely if exchanged, so the time of an audio window does not
    tell whether it belongs to the frames; without `overlap_shift` all pairs of start times
    within the limits are equally likely.
    Cooperative Learning of Audio and Video Models from Self-Supervised Synchronization,
    https://arxiv.org/abs/1807.00230.

    Args:
      min_max_shift: (min, max) seconds between the start of the clip's audio and that of
        "shifted", in either direction; max None is as far as the file goes.  AVTS's hard
        negatives do not overlap and are half a second apart: (audio_seconds + 0.5, None).
      overlap_shift: seconds between the start of the clip's audio and that of "overlapping"
        (AVTS's super-hard negatives), in either direction; None leaves it out.
      num_frames, fps, audio_seconds, sample_rate, short_side, num_clips, channels: as of
        `random`.

    Raises:
      ValueError: for an argument out of its range.  A file too short for the shifts counts
        as unreadable.
    """
    _check_arguments(num_frames, fps, audio_seconds, sample_rate, short_side, num_clips, channels)
    low, high = min_max_shift[0], math.inf if min_max_shift[1] is None else min_max_shift[1]
    if not 0 < low <= high:
        raise ValueError(
            f"min_max_shift={tuple(min_max_shift)}: use (min, max) with 0 < min <= max, or max None"
        )
    if not audio_seconds > 0:
        raise ValueError(f"audio_seconds={audio_seconds}: shifted audio needs more than 0")
    if overlap_shift is not None and not (
        0 < overlap_shift < audio_seconds and low + 2 * overlap_shift <= high
    ):
        raise ValueError(
            f"overlap_shift={overlap_shift}: use more than 0 s, less than audio_seconds="
            f"{audio_seconds} and at most half of the range {low} to {high} s of min_max_shift"
        )
    clip_seconds, video_offset, audio_offset = clip_times.center_offsets(
        num_frames / fps, audio_seconds
    )
    min_free = low + 2 * (overlap_shift or 0.0)

    def sample(info, rng):
        span = clip_times.shared_span(info, num_frames, audio_seconds)
        free = min(span.audio_end, span.video_end) - clip_seconds - span.low
        if free < min_free:
            raise MediaError(
                "",
                f"is too short: video and audio share {max(0.0, free + clip_seconds):.3f} s, and "
                f"clips {min_free:g} s apart take {min_free + clip_seconds:g} s; remove it from "
                f"the "
                "list",
            )
        first_audio = span.low + audio_offset
        start_times = [
            clip_times.sample_starts(rng, free, low, high, overlap_shift) for _ in range(num_clips)
        ]
        return [
            (span.low + video_offset + t[0], *(first_audio + x for x in t)) for t in start_times
        ]

    size = num_frames, fps, round(audio_seconds * sample_rate), sample_rate, num_clips
    return ClipSampler(*size, sample, short_side, channels)


def stored() -> ClipSampler:
    """Samples nothing: for sources whose `read` gives what they have stored of whole records."""
    return ClipSampler(0, 1.0, 0, 1, 1, _nothing)


def _nothing(info, rng):
    return [()]


def _check_arguments(num_frames, fps, audio_seconds, sample_rate, short_side, num_clips, channels):
    ranges.check_integer("num_frames", num_frames, 0)
    ranges.check_number("fps", fps, above=0)
    ranges.check_number("audio_seconds", audio_seconds, minimum=0)
    ranges.check_integer("sample_rate", sample_rate, 1)
    ranges.check_integer("num_clips", num_clips, 1)
    ranges.check_integer("channels", channels, 1, 2)
    if short_side is not None:
        ranges.check_integer("short_side", short_side, 1)
    if not num_frames and round(audio_seconds * sample_rate) < 1:
        raise ValueError(
            f"num_frames={num_frames}, audio_seconds={audio_seconds}: use more than 0 for one of "
            "them"
        )
