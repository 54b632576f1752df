"""A data set whose rows hold decoders of another library, as those of Hugging Face `datasets`.

A video is a `torchcodec.decoders.VideoDecoder`, audio a mapping of "array" and "sampling_rate".
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from avjax.data.clip_reading import read_clips, stored_frame_indices
from avjax.data.clip_sampling import ClipSampler
from avjax.data.media.audio import resample
from avjax.data.media.media_file import Info, MediaError
from avjax.data.source import Source

Span = tuple[float, float]


def make(name: str, rows: Any, indices: Sequence[int]) -> Source:
    """Makes a source of some rows of a data set.

    Args:
      name: of the data set, for messages.
      rows: its rows, as `rows[i]`: mappings with "video", "audio" or both.
      indices: of the rows.
    """
    lock = threading.Lock()

    def read(row: int, sampler: ClipSampler, rngs: Sequence[np.random.Generator]):
        with lock:  # Readers run in threads.
            item = rows[int(indices[row])]
        return read_item(item, sampler, rngs[0])

    records = tuple({"path": f"row {i} of {name}", "label": -1} for i in indices)
    return Source(name, records, read=read)


def read_item(
    item: Mapping[str, Any], sampler: ClipSampler, rng: np.random.Generator
) -> tuple[list[dict[str, np.ndarray]], bool]:
    """Reads the clips of a row, as `Source.read`.

    Args:
      item: "video", "audio" or both; None counts as absent.
      sampler: of the clips.
      rng: for the sampler.

    Raises:
      MediaError: without a path, if the row lacks the video that the clips require.
    """
    video = item.get("video") if sampler.num_frames else None
    sound = item.get("audio") if sampler.num_samples else None
    if sampler.num_frames and video is None:
        raise MediaError("", "has no video")
    video_span, read_frames = _open_video(video, sampler) if video is not None else (None, None)
    audio_span, read_audio = _open_audio(sound, sampler) if sound is not None else (None, None)
    none = (None, None)
    info = Info(*(video_span or none), *(audio_span or none), None, None, None, None)
    return read_clips(sampler, info, rng, read_frames or _unused, read_audio or _unused)


def _unused(start: float) -> np.ndarray:
    raise AssertionError(f"a stream that the clips do not have is read at {start} s")


def _open_video(video: Any, sampler: ClipSampler) -> tuple[Span, Callable[[float], np.ndarray]]:
    """(start and end in seconds, start -> uint8 [T, H, W, 3]) of a VideoDecoder."""
    known = video.metadata
    count, fps = known.num_frames, known.average_fps
    if not count or not fps:
        raise MediaError("", f"has a video of {count} frames at {fps} per second")
    start = float(known.begin_stream_seconds or 0)
    span = start, start + count / fps

    def read_frames(at: float) -> np.ndarray:
        indices = stored_frame_indices(sampler, at, span, fps, count)
        frames = np.asarray(video.get_frames_at([int(i) for i in indices]).data)
        return _scale(np.moveaxis(frames, 1, -1), sampler.short_side)

    return span, read_frames


def _scale(frames: np.ndarray, short_side: int | None) -> np.ndarray:
    """uint8 [T, H, W, 3] with this many pixels on the shorter side."""
    height, width = frames.shape[1:3]
    if short_side is None or min(height, width) == short_side:
        return np.ascontiguousarray(frames)
    scale = short_side / min(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    way = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR
    return np.stack([cv2.resize(np.ascontiguousarray(f), size, interpolation=way) for f in frames])


def _open_audio(sound: Any, sampler: ClipSampler) -> tuple[Span, Callable[[float], np.ndarray]]:
    """(start and end in seconds, start -> int16 [N] or [N, 2]) of a waveform."""
    wave, rate = np.asarray(sound["array"], np.float32), int(sound["sampling_rate"])
    wave = np.atleast_2d(wave)
    if not wave.shape[1]:
        raise MediaError("", "has audio without samples")
    if sampler.channels == 1:
        wave = wave.mean(axis=0, keepdims=True)
    else:
        wave = np.concatenate([wave[:1], wave[1:2] if len(wave) > 1 else wave[:1]])
    lines = [resample(line, rate, sampler.sample_rate) for line in wave]
    lines = [np.clip(np.rint(line * 32768.0), -32768, 32767).astype(np.int16) for line in lines]

    def read_audio(at: float) -> np.ndarray:
        first = round(at * sampler.sample_rate)
        out = np.zeros((len(lines), sampler.num_samples), np.int16)
        for line, part in zip(lines, out):
            low, high = max(first, 0), min(first + sampler.num_samples, len(line))
            part[low - first : max(low, high) - first] = line[low : max(low, high)]
        return out[0] if sampler.channels == 1 else np.ascontiguousarray(out.T)

    return (0.0, wave.shape[1] / rate), read_audio
