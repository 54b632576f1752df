"""A media file from its beginning to its end: every frame once, in bounded memory."""

from collections.abc import Iterator
from typing import Any

from av.error import FFmpegError
from av.stream import Discard

from avjax.data.media import extent
from avjax.data.media.media_file import Media, MediaError, demux, errors_with_path
from avjax.data.media.packets import seek_points


def iter_frames(
    media: Media, low: float, high: float, fps: float = 0.0
) -> Iterator[tuple[float, Any, int]]:
    """Yields (time, AVFrame, dropped) of the frames shown from `low` to `high` seconds.

    The first is the one shown at `low`, though it may have appeared before.

    Args:
      media: a Media.
      low, high: seconds on the file's clock.
      fps: only the frames shown at low + k / fps; 0 for all.  Times are exact in both cases.

    Yields:
      `dropped` counts the frames since the previous one that are not shown at these times.
    """
    with errors_with_path(media.path):
        current, k, tolerance, num_dropped = None, 0, time_tolerance(media), 0
        for time, frame in _decode_from(media, low, tolerance):
            if current and time > low + tolerance:  # What was shown until now: wanted by the grid?
                if not fps or low + k / fps + tolerance < time:
                    yield *current, num_dropped
                    num_dropped = 0
                else:
                    num_dropped += 1
                while fps and low + k / fps + tolerance < time:
                    k += 1
            if current and time > high:
                return
            current = time, frame
        if current:
            yield *current, num_dropped


def time_tolerance(media: Media) -> float:
    """Returns seconds by which a frame may be late: half a tick, since times are rounded."""
    return min(float(media.video.time_base) / 2, 0.0005) + 1e-6


def _decode_from(media, low, tolerance):
    """Yields (time, frame) in presentation order, from the one shown at `low` on."""
    by_count = media.container.format.name == "avi"
    points = [None] if by_count else seek_points(low, media.info.video_start)
    for point in points:
        stream = _frames_by_count(media) if by_count else _frames_with_pts(media, point)
        first = next(stream, None)
        if first and (first[0] <= low + tolerance or point is None):
            yield first
            yield from stream
            return
    raise MediaError(media.path, f"no frame can be decoded at {low:.3f} s")


def _frames_with_pts(media, point):
    """Frames with their own time stamps, from the key frame before `point` on."""
    base, hidden, key = float(media.video.time_base), set(), point is None
    context = media.video.codec_context
    for packet in _demux_from(media, point):
        key = key or packet.is_keyframe  # What comes before a key frame cannot be decoded.
        if not key:
            continue
        if packet.is_discard:
            hidden.add(packet.pts)
        for frame in context.decode(packet):
            if frame.pts is not None and frame.pts not in hidden:
                yield frame.pts * base, frame


def _frames_by_count(media):
    """Frames of a file without presentation times: the k-th is shown at the k-th time stamp."""
    base, stamps, number = float(media.video.time_base), [], 0
    for packet in _demux_from(media, None):
        if packet.dts is not None:
            stamps.append(packet.dts * base)
        for frame in media.video.codec_context.decode(packet):
            yield stamps[min(number, len(stamps) - 1)], frame
            number += 1


def _demux_from(media, point):
    """All packets of the video from `point` seconds on, and the empty one that ends them."""
    stream = media.video
    for other in media.container.streams:
        other.discard = Discard.default if other is stream else Discard.all
    stream.codec_context.flush_buffers()
    stream.codec_context.skip_frame = "DEFAULT"
    if point is None:
        extent.rewind(media.container, stream)
    else:
        try:
            media.container.seek(int(point / float(stream.time_base)), stream=stream)
        except FFmpegError:
            media.container.seek(stream.start_time or 0, stream=stream)
    yield from demux(media.path, media.container, stream)
