"""Bytes of a media file -> frames; with media and waveform, all that knows a codec.

All times are seconds on the file's own clock: a packet's time stamp times its time
base, nothing subtracted.  Sound and picture of one clip are so in step whatever
their start times, edit lists or encoder delays are.
"""

import math

import numpy as np
from av.video.reformatter import VideoReformatter

from avjax.data.media.audio import sound  # noqa: F401
from avjax.data.media.media_file import (  # noqa: F401 (this is the door to all of it)
    MAX_PIXELS,
    Info,
    Media,
    MediaError,
    check_whole,
    named,
    open_media,
    packets_until,
    seek_points,
)

# Decoders in which "not a reference" means that no other frame needs it.  In HEVC it
# holds within a temporal layer only, so its frames are all decoded.
SKIPPABLE = ("h264", "mpeg4", "mpeg2video", "mpeg1video")


def frames(media, start, count, fps, short_side=None):
    """The frames shown at start + i / fps, uint8 [count, H, W, 3]: the last with pts <= t.

    Times past the end of the picture repeat the clip's own frames from its start.  The
    rotation and the pixel shape that the file asks for are applied.  `short_side`
    scales the frames on the way, so that the shorter side has that many pixels.
    """
    if media.video is None:
        raise MediaError(media.path, "has no picture")
    _check_size(media, media.info.width, media.info.height)
    with named(media.path):
        times = start + np.arange(count) / fps
        for point in seek_points(start, media.info.video_start):
            shown = _shown(media, times, point)
            if shown:
                return pixels(media, shown, short_side)
        raise MediaError(media.path, f"no frame can be decoded at {start:.3f} s")


def _check_size(media, width, height):
    if width * height > MAX_PIXELS:
        raise MediaError(media.path, f"{width} x {height} pixels; at most {MAX_PIXELS}")


def _shown(media, times, point):
    """The frames shown at `times`, one each; empty if decoding began too late for the first.

    The packets are listed before any is decoded: their time stamps tell which frames
    will be shown, and the decoder passes over the rest wherever no frame needs them.
    """
    stream, context = media.video, media.video.codec_context
    base = float(stream.time_base)
    slack = min(base / 2, 0.0005) + 1e-6  # Matroska rounds its time stamps to 1 ms.
    # AVI keeps no times of showing: there is one frame a chunk, shown as they come out.
    counted = media.container.format.name == "avi"
    found, end = packets_until(media, stream, point, times[-1] + slack)
    if end is not None:
        check_whole(media, times[-1], end, media.info.video_end)
    if point is not None:  # What comes before a key frame cannot be decoded.
        found = found[next((i for i, p in enumerate(found) if p.is_keyframe), len(found)) :]
    stamps = [p.dts if counted else p.pts for p in found if not p.is_discard]
    known = bool(stamps) and None not in stamps and not counted
    stamps = np.unique([stamp for stamp in stamps if stamp is not None]) * base
    if not len(stamps) or (point is not None and stamps[0] > times[0] + slack):
        return []
    times = np.maximum(times, stamps[0])
    if end is not None:  # What lies past the end repeats the clip from its start.
        inside = max(1, int(np.sum(times < end - slack)))
        times = times[np.arange(len(times)) % inside]
    at = np.unique(np.searchsorted(stamps, times + slack, side="right") - 1)
    wanted = set(np.rint(stamps[at] / base).astype(int).tolist())
    if known:
        found = found[: 1 + max(i for i, p in enumerate(found) if p.pts in wanted)]
    decoded = _decode(context, found, wanted if known else None)
    return _choose(decoded, times + slack, base, stamps if counted else None, point is None)


def _choose(decoded, times, base, stamps, from_start):
    """For each of `times` the last frame at or before it; empty if the first has none.

    Frame k is shown at stamps[k], or where stamps is None at its own time stamp.
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
        for i, wanted in enumerate(times):
            if best_time[i] < time <= wanted:
                best[i], best_time[i] = frame, time
    complete = best[0] is not None and (stamps is None or number == len(stamps))
    earliest = next((frame for frame in best if frame is not None), None)
    if earliest is None or not (complete or from_start):
        return []
    return [earliest if frame is None else frame for frame in best]


def _decode(context, found, wanted):
    """Yields the frames of packets; those not `wanted` only if others refer to them."""
    skippable = wanted is not None and context.name in SKIPPABLE
    skipped = None
    for packet in found:
        skip = "NONREF" if skippable and packet.pts not in wanted else "DEFAULT"
        if skip != skipped:
            context.skip_frame = skipped = skip
        yield from context.decode(packet)
    yield from context.decode(None)


def pixels(media, shown, short_side):
    """AVFrames -> uint8 [count, H, W, 3], upright and with square pixels."""
    frame = shown[0]
    ratio = media.video.sample_aspect_ratio or media.video.codec_context.sample_aspect_ratio
    ratio = float(ratio or 1)
    ratio = ratio if 1 / 8 <= ratio <= 8 else 1.0
    width, height = max(1, round(frame.width * ratio)), frame.height
    if short_side:
        scale = short_side / min(width, height)
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
    _check_size(media, width, height)
    scaler = "AREA" if width * height < frame.width * frame.height / 4 else "BILINEAR"
    reformatter, out, first = VideoReformatter(), None, {}
    for i, frame in enumerate(shown):
        if id(frame) in first:
            out[i] = out[first[id(frame)]]
            continue
        rgb = reformatter.reformat(frame, width, height, "rgb24", interpolation=scaler, threads=1)
        plane = rgb.planes[0]  # Its rows are padded.
        image = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height, : 3 * width]
        image = _upright(image.reshape(height, width, 3), frame)
        out = np.empty((len(shown), *image.shape), np.uint8) if out is None else out
        out[i], first[id(frame)] = image, i
    return out


def _upright(image, frame):
    """Applies the display matrix: a multiple of 90 degrees, mirrored or not."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return image
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(a) + abs(d) < abs(b) + abs(c):  # (x, y) is shown at (a x + c y, b x + d y).
        image, a, d = image.swapaxes(0, 1), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
