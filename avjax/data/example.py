"""The clips of one record: decoded or read, transformed, and stacked with what is known of it."""

import numpy as np

from avjax.data.clip_sampling import cut, silence, within
from avjax.data.media import video as media_video
from avjax.data.workers import forkserver

NO_AUDIO = "has no sound"


def attempt(source, row, view, transforms, rngs, strict, barred, announce):
    """(the clips of a record, None), or (None, (row, path, reason)) if it cannot be used.

    barred: {row: reason} of records not to be touched again.  announce: called with the row
    before it is.
    """
    if row in barred:
        return None, (row, source[row]["path"], barred[row])
    announce(row)
    try:
        return _clips(source, row, view, transforms, rngs, strict), None
    except media_video.MediaError as error:
        if isinstance(error.__cause__, MemoryError) and forkserver.limited():
            # What is left of a worker's memory depends on what it did before: a new one decides.
            raise error.__cause__ from None
        return None, (row, error.path or source[row]["path"], error.reason)


def _clips(source, row, view, transforms, rngs, strict):
    """The clips of a record, stacked: {"video": [count, T, H, W, 3], ...}.

    Where the sound is missing, `strict` raises a MediaError; else it is silence.
    """
    record = source[row]
    strict = strict and view.samples
    if source.read:
        clips, has_audio = source.read(row, view, rngs)
    else:
        clips, has_audio = decoded(record, view, rngs, strict)
    if strict and not has_audio:
        raise media_video.MediaError(record["path"], NO_AUDIO)
    try:
        clips = [_transformed(clip, transforms, rng) for clip, rng in zip(clips, rngs)]
    except Exception as error:
        error.add_note(f"while transforming a clip of {record['path']}")
        raise
    return _stack(clips, row, record.get("label", -1), has_audio, True)


def decoded(record, view, rngs, strict):
    """The clips of a record, from its file, and whether that has sound."""
    with media_video.open_media(record["path"]) as media:
        info = within(media.info, record)
        has_audio = info.audio_start is not None
        if strict and not has_audio:  # Known before anything is decoded.
            raise media_video.MediaError(media.path, NO_AUDIO)
        if view.frames and info.video_start is None:
            where = "" if media.video is None else " in its segment"
            raise media_video.MediaError(media.path, f"has no picture{where}")

        def frames(start):
            return media_video.frames(media, start, view.frames, view.fps, view.short_side)

        def sound(start):
            if not has_audio:
                return silence(view)
            return media_video.sound(media, start, view.samples, view.rate, view.channels)

        windows = view.windows(info, rngs[0])
        return [cut(view, window, frames, sound) for window in windows], has_audio


def _transformed(clip, transforms, rng):
    for transform in transforms:
        clip = transform(clip, rng)
    return clip


def _stack(clips, row, label, has_audio, mask):
    count = len(clips)
    return {
        **{name: np.stack([clip[name] for clip in clips]) for name in clips[0]},
        "index": np.full(count, row, np.int32),
        "label": np.full(count, label, np.int32),
        "has_audio": np.full(count, has_audio),
        "mask": np.full(count, mask),
    }


def blank(view, transforms):
    """What stands for a record that is not there: zeros, of the shape the transforms make."""
    hour = media_video.Info(0.0, 3600.0, 0.0, 3600.0, None, None, None, None)
    window = view.windows(hour, np.random.default_rng(0))[0]
    dark = np.zeros((view.frames, 240, 320, 3), np.uint8)
    clip = cut(view, window, lambda _: dark, lambda _: silence(view))
    clip = _transformed(clip, transforms, np.random.default_rng(0))
    clips = [{name: np.zeros_like(value) for name, value in clip.items()}] * view.count
    return _stack(clips, 0, -1, False, False)
