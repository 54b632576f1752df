"""Clips of long videos: a frame or more and audio from the start of each of many equal parts."""

import numpy as np

from avjax.config import ranges
from avjax.data import clip_sampling, clip_times
from avjax.data.clip_sampling import ClipSampler
from avjax.data.media.media_file import MediaError

# Share of a clip that may lie past the end: the streams of one file rarely end together.
MISSING_END = 0.1


def from_starts(
    num_frames: int, fps: float, audio_seconds: float, sample_rate: int, clip_seconds: float,
    max_clips: int | None = None, short_side: int | None = None, channels: int = 1,
) -> ClipSampler:  # fmt: skip
    """Divides a record into clips of `clip_seconds`; frames and audio begin with each.

    Clips for different nets, such as one frame for a cheap one and sixteen for another, begin at
    the same times, so their features can be combined.  For evaluation only, as the number of clips
    differs by record.  Listen to Look reads the first frame and a second of audio of each clip,
    https://arxiv.org/abs/1912.04487.

    Args:
      clip_seconds: length of a clip, at least that of its frames and of its audio.
      max_clips: of longer records so many evenly spaced clips; None for all.
      num_frames, fps, audio_seconds, sample_rate, short_side, channels: as of
        `clip_sampling.random`.

    Raises:
      ValueError: for an argument out of its range.  A record shorter than a clip counts as
        unreadable.
    """
    base = clip_sampling.uniform(
        num_frames, fps, audio_seconds, sample_rate, 1, short_side, channels
    )
    ranges.check_number("clip_seconds", clip_seconds, above=0)
    if max_clips is not None:
        ranges.check_integer("max_clips", max_clips, 1)
    longest = max(num_frames / fps, audio_seconds)
    if clip_seconds < longest - clip_times.TIME_TOLERANCE:
        raise ValueError(
            f"clip_seconds={clip_seconds:g}: use at least {longest:g}, the length of the frames "
            "and of the audio"
        )

    def sample(info, rng):
        del rng
        span = clip_times.shared_span(info, num_frames, audio_seconds)
        seconds = min(span.audio_end, span.video_end) - span.low
        starts = span.low + clip_starts(seconds, clip_seconds, max_clips)
        if not len(starts):
            raise MediaError(
                "", f"is shorter than one clip: {max(0.0, seconds):.2f} s of {clip_seconds:g} s"
            )
        return [(float(start), float(start)) for start in starts]

    return base._replace(sample=sample, varies=True)


def clip_starts(seconds: float, clip_seconds: float, max_clips: int | None = None) -> np.ndarray:
    """Returns the starts of the clips of a record, in seconds from its own start, float [n].

    Args:
      seconds: length of the record.
      clip_seconds, max_clips: as of `from_starts`.
    """
    count = max(0, int(np.floor(seconds / clip_seconds + MISSING_END)))
    if max_clips is None or count <= max_clips:
        return np.arange(count) * clip_seconds
    return np.arange(max_clips) * (count * clip_seconds / max_clips)
