"""The clips of one record: decoded, transformed and stacked."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from avjax.data.clip_reading import read_clip, read_clips, silent_audio
from avjax.data.clip_sampling import ClipSampler
from avjax.data.clip_times import restrict_to_record
from avjax.data.media import video as media_video
from avjax.data.source import Source
from avjax.data.workers import forkserver, pickling, prefetch

NO_AUDIO = "has no audio"


def load_example(
    source: Source,
    row: int,
    sampler: ClipSampler,
    transforms: Sequence[Callable],
    rngs: Sequence[np.random.Generator],
    require_audio: bool,
    blocked: Mapping[int, str],
    heartbeat: Callable[[int], None],
) -> tuple[dict[str, np.ndarray] | None, tuple[int, str, str] | None]:
    """Returns (clips, None), or (None, (row, path, reason)) if the record cannot be used.

    Args:
      source: a Source.
      row: of the record in it.
      sampler: a ClipSampler.
      transforms: functions (clip, rng) -> clip, applied in order.
      rngs: a NumPy generator per clip.
      require_audio: whether a record without audio counts as unreadable.
      blocked: {row: reason} of records that must not be opened again.
      heartbeat: called with the row before it is read.
    """
    if row in blocked:
        return None, (row, source[row]["path"], blocked[row])
    heartbeat(row)
    try:
        return _load_clips(source, row, sampler, transforms, rngs, require_audio), None
    except media_video.MediaError as error:
        if isinstance(error.__cause__, MemoryError) and forkserver.memory_is_limited():
            # Free memory depends on what this worker did before: a new one decides.
            raise error.__cause__ from None
        return None, (row, error.path or source[row]["path"], error.reason)


def _load_clips(source, row, sampler, transforms, rngs, require_audio):
    """The clips of a record, stacked: {"video": [num_clips, T, H, W, 3], ...}.

    Without audio, `require_audio` raises a MediaError; else the audio is silence.
    """
    record = source[row]
    require_audio = require_audio and sampler.num_samples
    if source.read:
        clips, has_audio = source.read(row, sampler, rngs)
    else:
        clips, has_audio = decode_clips(record, sampler, rngs, require_audio)
    if require_audio and not has_audio:
        raise media_video.MediaError(record["path"], NO_AUDIO)
    try:
        clips = [_apply_transforms(clip, transforms, rng) for clip, rng in zip(clips, rngs)]
    except Exception as error:
        error.add_note(f"while transforming a clip of {record['path']}")
        raise
    columns = record.get("columns", {})
    return _stack_clips(clips, row, record.get("label", -1), has_audio, True, columns)


def decode_clips(
    record: dict,
    sampler: ClipSampler,
    rngs: Sequence[np.random.Generator],
    require_audio: bool,
) -> tuple[list[dict[str, np.ndarray]], bool]:
    """Decodes the clips of a record from its file.

    Args: as of `load_example`.

    Returns:
      ([clip] * num_clips, has_audio).

    Raises:
      MediaError: the file cannot be read, or lacks a stream that is required.
    """
    with media_video.open_media(record["path"]) as media:
        info = restrict_to_record(media.info, record)
        if require_audio and info.audio_start is None:  # Known before anything is decoded.
            raise media_video.MediaError(media.path, NO_AUDIO)
        if sampler.num_frames and info.video_start is None:
            where = "" if media.video is None else " in its segment"
            raise media_video.MediaError(media.path, f"has no video{where}")

        def read_frames(start):
            return media_video.read_frames(
                media, start, sampler.num_frames, sampler.fps, sampler.short_side
            )

        def read_audio(start):
            return media_video.read_audio(
                media, start, sampler.num_samples, sampler.sample_rate, sampler.channels
            )

        return read_clips(sampler, info, rngs[0], read_frames, read_audio)


def _apply_transforms(clip, transforms, rng):
    for transform in transforms:
        clip = transform(clip, rng)
    return clip


def _stack_clips(clips, row, label, has_audio, mask, columns):
    num_clips = len(clips)
    return {
        **{name: _stack([clip[name] for clip in clips]) for name in clips[0]},
        **{name: np.repeat(value[None], num_clips, 0) for name, value in columns.items()},
        "index": np.full(num_clips, row, np.int32),
        "label": np.full(num_clips, label, np.int32),
        "has_audio": np.full(num_clips, has_audio),
        "mask": np.full(num_clips, mask),
    }


def _stack(arrays):
    return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)  # The first copies nothing.


def padding_example(
    sampler: ClipSampler, transforms: Sequence[Callable], source: Source | None = None
) -> dict[str, np.ndarray]:
    """Returns zeros in place of a record, of the shapes that the transforms make.

    Args:
      sampler: decides the shapes of the clips.
      transforms: functions (clip, rng) -> clip, applied in order.
      source: whose columns the clips have; None for no columns.
    """
    one_hour = media_video.Info(0.0, 3600.0, 0.0, 3600.0, None, None, None, None)
    starts = sampler.sample(one_hour, np.random.default_rng(0))[0]
    black = np.zeros((sampler.num_frames, 240, 320, 3), np.uint8)
    clip = read_clip(sampler, starts, lambda _: black, lambda _: silent_audio(sampler))
    clip = _apply_transforms(clip, transforms, np.random.default_rng(0))
    clips = [{name: np.zeros_like(value) for name, value in clip.items()}] * sampler.num_clips
    columns = source[0].get("columns", {}) if source else {}
    zeros = {name: np.zeros_like(value) for name, value in columns.items()}
    return _stack_clips(clips, 0, -1, False, False, zeros)


def padding_batch(data: Mapping[str, Any], rows: int) -> dict[str, np.ndarray]:
    """Returns a batch of padding, of a source whose records cannot be read yet.

    Args:
      data: the data set: source, clip_sampler, transforms.
      rows: of the batch, at least the clips of a record.
    """
    sampler = data["clip_sampler"]
    padding = padding_example(sampler, tuple(data["transforms"]), data["source"])
    count = max(1, rows // sampler.num_clips)
    return {name: np.concatenate([value] * count) for name, value in padding.items()}


def num_workers(
    workers: int | None, source: Source, sampler: ClipSampler, transforms: Iterable[Callable]
) -> int:
    """Returns the number of processes that load examples; 0 for threads.

    Args:
      workers: as given; None for what suits the source.
      source, sampler, transforms: what the processes need.

    Raises:
      ValueError: `workers` are processes, to which a part cannot be sent.
    """
    if workers == 0 or (workers is None and source.read):
        return 0
    try:
        pickling.check_picklable((source.read, sampler, transforms))
    except ValueError as error:
        if workers is not None:
            raise
        logging.getLogger(__name__).warning("decoding in threads: %s", error)
        return 0
    return workers or prefetch.num_cores()
