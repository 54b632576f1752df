"""A media file from its beginning to its end: every picture once, in bounded memory."""

import av

from avjax.data.media import extent
from avjax.data.media.media_file import MediaError, demux, named, seek_points


def pictures(media, low, high, fps=0.0):
    """Yields (time, AVFrame, dropped) of the frames shown from `low` to `high` seconds.

    The first is the one shown at `low`, though it may have come up before.  fps: only the
    frames that are shown at low + k / fps; 0: all.  Times are true, whatever `fps` is.
    dropped: how many frames since the one before are not shown at any of these times.
    """
    with named(media.path):
        shown, k, late, dropped = None, 0, slack(media), 0
        for time, frame in _frames(media, low, late):
            if shown and time > low + late:  # What was shown until now: wanted by the grid?
                if not fps or low + k / fps + late < time:
                    yield *shown, dropped
                    dropped = 0
                else:
                    dropped += 1
                while fps and low + k / fps + late < time:
                    k += 1
            if shown and time > high:
                return
            shown = time, frame
        if shown:
            yield *shown, dropped


def slack(media):
    """Seconds by which a frame may be late for its time: half a tick, since times are rounded."""
    return min(float(media.video.time_base) / 2, 0.0005) + 1e-6


def _frames(media, low, late):
    """Yields (time, frame) in the order of showing, from the one shown at `low` on."""
    counted = media.container.format.name == "avi"
    points = [None] if counted else seek_points(low, media.info.video_start)
    for point in points:
        stream = _counted(media) if counted else _stamped(media, point)
        first = next(stream, None)
        if first and (first[0] <= low + late or point is None):
            yield first
            yield from stream
            return
    raise MediaError(media.path, f"no frame can be decoded at {low:.3f} s")


def _stamped(media, point):
    """Frames with the time that they bear, from the key frame before `point` on."""
    base, hidden, key = float(media.video.time_base), set(), point is None
    context = media.video.codec_context
    for packet in _packets(media, point):
        key = key or packet.is_keyframe  # What comes before a key frame cannot be decoded.
        if not key:
            continue
        if packet.is_discard:
            hidden.add(packet.pts)
        for frame in context.decode(packet):
            if frame.pts is not None and frame.pts not in hidden:
                yield frame.pts * base, frame


def _counted(media):
    """Frames of a file that keeps no times of showing: the k-th is shown at the k-th stamp."""
    base, stamps, number = float(media.video.time_base), [], 0
    for packet in _packets(media, None):
        if packet.dts is not None:
            stamps.append(packet.dts * base)
        for frame in media.video.codec_context.decode(packet):
            yield stamps[min(number, len(stamps) - 1)], frame
            number += 1


def _packets(media, point):
    """All packets of the picture from `point` seconds on, and the empty one that ends them."""
    stream = media.video
    for other in media.container.streams:
        other.discard = av.stream.Discard.default if other is stream else av.stream.Discard.all
    stream.codec_context.flush_buffers()
    stream.codec_context.skip_frame = "DEFAULT"
    if point is None:
        extent.rewind(media.container, stream)
    else:
        try:
            media.container.seek(int(point / float(stream.time_base)), stream=stream)
        except av.FFmpegError:
            media.container.seek(stream.start_time or 0, stream=stream)
    yield from demux(media.path, media.container, stream)
