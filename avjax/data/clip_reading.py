"""The clips of one record, read at the times that a ClipSampler chooses."""

from collections.abc import Callable

import numpy as np

from avjax.data.clip_sampling import ClipSampler
from avjax.data.clip_times import TIME_TOLERANCE
from avjax.data.media.media_file import Info

AUDIO_KEYS = ("audio", "shifted", "overlapping")  # In the order of a clip's start times.


def read_clips(
    sampler: ClipSampler,
    info: Info,
    rng: np.random.Generator,
    read_frames: Callable[[float], np.ndarray],
    read_audio: Callable[[float], np.ndarray],
) -> tuple[list[dict[str, np.ndarray]], bool]:
    """Samples and reads the clips of a record.

    Args:
      sampler: a ClipSampler.
      info: times of the record's streams, restricted to its part of the file.
      rng: for the sampler.
      read_frames: start in seconds -> uint8 [T, H, W, 3].
      read_audio: start in seconds -> int16 [N] or [N, 2]; not called without an audio stream, for
        which there is silence.

    Returns:
      ([clip] * num_clips, whether there is an audio stream), as Source.read.
    """
    has_audio = info.audio_start is not None
    read = read_audio if has_audio else lambda start: silent_audio(sampler)
    starts = sampler.sample(info, rng)
    return [read_clip(sampler, each, read_frames, read) for each in starts], has_audio


def read_clip(
    sampler: ClipSampler,
    starts: tuple[float, ...],
    read_frames: Callable[[float], np.ndarray],
    read_audio: Callable[[float], np.ndarray],
) -> dict[str, np.ndarray]:
    """Returns one clip: {"video": [T, H, W, 3], "audio": [N], ...}.

    Args:
      sampler, read_frames, read_audio: as in `read_clips`.
      starts: start times of the video and of each audio key, one item of sampler.sample.
    """
    clip = {"video": read_frames(starts[0])} if sampler.num_frames else {}
    if sampler.num_samples:
        clip |= dict(zip(AUDIO_KEYS, map(read_audio, starts[1:])))
    return clip


def silent_audio(sampler: ClipSampler) -> np.ndarray:
    """Returns digital silence of a clip's shape: int16 zeros, [N] or [N, 2]."""
    channels = () if sampler.channels == 1 else (sampler.channels,)
    return np.zeros((sampler.num_samples, *channels), np.int16)


def is_integer_subsampling(stored_fps: float, fps: float) -> bool:
    """Whether every n-th of `stored_fps` frames per second gives `fps` frames per second."""
    ratio = stored_fps / fps
    return round(ratio) >= 1 and abs(ratio - round(ratio)) < 1e-6


def stored_frame_indices(
    sampler: ClipSampler, start: float, video_span: tuple[float, float], fps: float, count: int
) -> np.ndarray:
    """The stored frames of a clip, by the rule of avjax.data.media.video.read_frames.

    Past the end of the video, the clip repeats from its start.

    Args:
      sampler: a ClipSampler.
      start: of the clip, in seconds.
      video_span: start and end of the video, in seconds.
      fps: stored frames per second, of constant rate.
      count: number of stored frames.

    Returns:
      int [num_frames], from 0 to count - 1.
    """
    times = np.maximum(start + np.arange(sampler.num_frames) / sampler.fps, video_span[0])
    inside = max(1, int(np.sum(times < video_span[1] - TIME_TOLERANCE)))
    times = times[np.arange(sampler.num_frames) % inside]
    indices = np.floor((times - video_span[0] + TIME_TOLERANCE) * fps).astype(int)
    return np.minimum(indices, count - 1)
