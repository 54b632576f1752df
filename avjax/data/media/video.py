"""Bytes of a media file -> frames.

All times are seconds on the file's own clock: a packet's time stamp times its time base, nothing
subtracted.  So the audio and video of a clip are synchronized, whatever their start times, edit
lists or encoder delays are.
"""

import math
from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter

from avjax.data.media.audio import read_audio  # noqa: F401
from avjax.data.media.media_file import (  # noqa: F401 (this is the door to all of it)
    MAX_PIXELS,
    Info,
    Media,
    MediaError,
    errors_with_path,
    open_media,
)
from avjax.data.media.packets import check_not_truncated, packets_until, seek_points

# Decoders in which "not a reference" means that no other frame needs it.  In HEVC it
# holds within a temporal layer only, so its frames are all decoded.
DECODERS_WITH_SKIP = ("h264", "mpeg4", "mpeg2video", "mpeg1video")


def read_frames(
    media: Media, start: float, count: int, fps: float, short_side: int | None = None
) -> np.ndarray:
    """Reads the frames shown at start + i / fps: the last with presentation time <= t.

    Times past the end of the video repeat the clip's own frames from its start.  The rotation and
    the pixel shape that the file asks for are applied.

    Args:
      media: a Media.
      start: in seconds on the file's clock.
      count: number of frames.
      fps: frames per second.
      short_side: scales frames so that the shorter side has that many pixels; None does not.

    Returns:
      uint8 [count, H, W, 3].

    Raises:
      MediaError: the file has no video, or it cannot be decoded.
    """
    stream_start = media.info.video_start
    if media.video is None or stream_start is None:
        raise MediaError(media.path, "has no video")
    _check_size(media, media.info.width, media.info.height)
    with errors_with_path(media.path):
        times = start + np.arange(count) / fps
        for point in seek_points(start, stream_start):
            selected = _frames_at(media, times, point)
            if selected:
                return to_rgb(media, selected, short_side)
        raise MediaError(media.path, f"no frame can be decoded at {start:.3f} s")


def _check_size(media, width, height):
    if width * height > MAX_PIXELS:
        raise MediaError(media.path, f"{width} x {height} pixels; at most {MAX_PIXELS}")


def _frames_at(media, times, point):
    """The frames shown at `times`, one each; empty if decoding began too late for the first.

    The packets are listed before any is decoded: their time stamps tell which frames will be
    shown, and the decoder skips the rest if no other frame needs them.
    """
    stream, context = media.video, media.video.codec_context
    base = float(stream.time_base)
    tolerance = min(base / 2, 0.0005) + 1e-6  # Matroska rounds its time stamps to 1 ms.
    # AVI keeps no times of showing: there is one frame a chunk, shown as they come out.
    by_count = media.container.format.name == "avi"
    packets, end = packets_until(media, stream, point, times[-1] + tolerance)
    if end is not None:
        check_not_truncated(media, times[-1], end, media.info.video_end)
    if point is not None:  # What comes before a key frame cannot be decoded.
        packets = packets[next((i for i, p in enumerate(packets) if p.is_keyframe), len(packets)) :]
    timestamps = [p.dts if by_count else p.pts for p in packets if not p.is_discard]
    has_pts = bool(timestamps) and None not in timestamps and not by_count
    timestamps = np.unique([stamp for stamp in timestamps if stamp is not None]) * base
    if not len(timestamps) or (point is not None and timestamps[0] > times[0] + tolerance):
        return []
    times = np.maximum(times, timestamps[0])
    if end is not None:  # What lies past the end repeats the clip from its start.
        inside = max(1, int(np.sum(times < end - tolerance)))
        times = times[np.arange(len(times)) % inside]
    frame_indices = np.unique(np.searchsorted(timestamps, times + tolerance, side="right") - 1)
    requested = set(np.rint(timestamps[frame_indices] / base).astype(int).tolist())
    if has_pts:
        packets = packets[: 1 + max(i for i, p in enumerate(packets) if p.pts in requested)]
    decoded = _decode_packets(context, packets, requested if has_pts else None)
    return _select_frames(
        decoded, times + tolerance, base, timestamps if by_count else None, point is None
    )


def _select_frames(decoded, times, base, stamps, from_start):
    """For each of `times` the last frame at or before it; empty if the first has none.

    Frame k is shown at stamps[k], or if stamps is None at its own time stamp.
    """
    # Plain numbers: of a clip's many frames each is compared with a few times.
    times, number = times.tolist(), 0
    best, best_time = [None] * len(times), [-math.inf] * len(times)
    for number, frame in enumerate(decoded, 1):
        if number == 1 and not (from_start or frame.key_frame):
            return []  # AVI calls frames key frames that are not.
        if stamps is not None:
            time = stamps[min(number, len(stamps)) - 1]
        else:
            time = -math.inf if frame.pts is None else frame.pts * base
        for i, target in enumerate(times):
            if best_time[i] < time <= target:
                best[i], best_time[i] = frame, time
    complete = best[0] is not None and (stamps is None or number == len(stamps))
    earliest = next((frame for frame in best if frame is not None), None)
    if earliest is None or not (complete or from_start):
        return []
    return [earliest if frame is None else frame for frame in best]


def _decode_packets(context, packets, requested):
    """Yields the frames of packets; those not `requested` only if others refer to them."""
    skippable = requested is not None and context.name in DECODERS_WITH_SKIP
    skipped = None
    for packet in packets:
        skip = "NONREF" if skippable and packet.pts not in requested else "DEFAULT"
        if skip != skipped:
            context.skip_frame = skipped = skip
        yield from context.decode(packet)
    yield from context.decode(None)


def to_rgb(media: Media, selected: list[Any], short_side: int | None) -> np.ndarray:
    """Converts decoded frames to RGB, upright and with square pixels.

    Args:
      media: the open file.
      selected: AVFrames, one or more.
      short_side: pixels of the shorter side of the result; None does not scale.

    Returns:
      uint8 [count, H, W, 3].
    """
    frame = selected[0]
    ratio = media.video.sample_aspect_ratio or media.video.codec_context.sample_aspect_ratio
    ratio = float(ratio or 1)
    ratio = ratio if 1 / 8 <= ratio <= 8 else 1.0
    width, height = max(1, round(frame.width * ratio)), frame.height
    if short_side:
        scale = short_side / min(width, height)
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
    _check_size(media, width, height)
    scaler = "AREA" if width * height < frame.width * frame.height / 4 else "BILINEAR"
    reformatter, first = VideoReformatter(), {}
    out = np.empty((0, 0, 0, 3), np.uint8)
    for i, frame in enumerate(selected):
        if id(frame) in first:
            out[i] = out[first[id(frame)]]
            continue
        rgb = reformatter.reformat(frame, width, height, "rgb24", interpolation=scaler, threads=1)
        plane = rgb.planes[0]  # Its rows are padded.
        image = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[
            :height, : 3 * width
        ]
        image = _apply_rotation(image.reshape(height, width, 3), frame)
        out = np.empty((len(selected), *image.shape), np.uint8) if not first else out
        out[i], first[id(frame)] = image, i
    return out


def _apply_rotation(image, frame):
    """Applies the display matrix: a multiple of 90 degrees, mirrored or not."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return image
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(a) + abs(d) < abs(b) + abs(c):  # (x, y) is shown at (a x + c y, b x + d y).
        image, a, d = image.swapaxes(0, 1), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
