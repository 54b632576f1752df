"""A media file, opened: what streams it has, where they lie in time, and its packets.

Which streams: avjax.data.media.streams.  Where they lie: as the header says where that is exact,
else as the packets do (avjax.data.media.extent).  How much is read for one clip is bounded.
"""

import contextlib
import math
import os
from typing import Any, NamedTuple

import av
from av.stream import Discard

from avjax.data.media import extent, streams
from avjax.data.media.container import (  # noqa: F401 (this is where others take them from)
    MAX_PIXELS,
    MediaError,
    demux,
    named,
    opened,
)

MAX_PACKETS = 20_000  # Packets read for one clip: 11 minutes at 30 frames a second.
MAX_BYTES = 2**28  # Of these packets, and of the sound of a clip before it is mixed down.
CUT_SHORT = 0.5  # Seconds that may be missing of what the header promises.
CLOSE = 0.1  # Seconds by which a header may differ from the packets and is kept.
# Containers whose header says how long the file is; what others say is an estimate.
PROMISING = ("mp4", "matroska", "flac", "wav", "asf", "flv")
# Seeks that land too late (MPEG-TS, broken indices) are tried again from farther back.
BACK = (0.0, 2.0, 20.0)
# What helps where a clip would need too much to be read.
REMEDY = "key frames are too far apart: python -m avjax.prepare writes shards that need none"


class Info(NamedTuple):
    """Where the streams lie on the file's clock, in seconds; None where one is missing."""

    video_start: float | None
    video_end: float | None
    audio_start: float | None
    audio_end: float | None
    fps: float | None
    width: int | None
    height: int | None
    rate: int | None


class Media(NamedTuple):
    """An open file.

    video, audio: PyAV streams, or None.  info: where they lie.
    promised:     seconds at which the file ends as its header says; None where it does not say.
    unused:       how many further streams of pictures or sound could be decoded.
    """

    path: str
    container: Any
    video: Any
    audio: Any
    info: Info
    promised: float | None
    unused: int


@contextlib.contextmanager
def open_media(path):
    """Opens a file, once for both of its streams; yields a Media."""
    with named(path):
        path = os.path.abspath(path)  # So that "http:..." is a file that does not exist.
    with opened(path) as container:
        with named(path):
            media = _media(path, container)
        yield media


def seek_points(start, stream_start):
    """Where to begin reading for `start`, in seconds, ever earlier; at last None, the beginning."""
    yield from (start - back for back in BACK if start - back > stream_start)
    yield None


def packets(media, stream, point):
    """Packets of `stream` in decoding order, from the key frame before `point` on."""
    for other in media.container.streams:
        other.discard = Discard.default if other is stream else Discard.all
    try:
        if point is None:
            extent.rewind(media.container, stream)
        else:
            media.container.seek(math.floor(point / float(stream.time_base)), stream=stream)
    except av.FFmpegError:
        try:
            media.container.seek(stream.start_time or 0, stream=stream)
        except av.error.PermissionError as error:  # FFmpeg's -1: there is nothing to go to.
            raise MediaError(media.path, f"holds no data in stream {stream.index}") from error
    size = 0
    for number, packet in enumerate(demux(media.path, media.container, stream)):
        size += packet.size
        if number == MAX_PACKETS:
            reason = f"needs more than {MAX_PACKETS} packets for one clip: {REMEDY}"
            raise MediaError(media.path, reason)
        if size > MAX_BYTES:
            reason = f"needs more than {MAX_BYTES} bytes for one clip: {REMEDY}"
            raise MediaError(media.path, reason)
        yield packet


def packets_until(media, stream, point, last):
    """The packets of all frames up to `last` seconds, and the end of the stream if it is met."""
    base, found, beyond, end = float(stream.time_base), [], 0, -math.inf
    for packet in packets(media, stream, point):
        if packet.dts is None and packet.size == 0:  # PyAV's mark of the end of the file.
            break
        found.append(packet)
        stamp = extent.stamp_of(media.container, packet)
        if stamp is not None:
            end = max(end, (stamp + (packet.duration or 0)) * base)
        # A frame is never shown before it is decoded; where the decoding time stands in
        # for a missing time of showing, 16 packets are the most a decoder reorders.
        beyond += packet.dts is not None and packet.dts * base > last
        if beyond > 16:
            return found, None
    return found, end


def check_whole(media, wanted, end, promised):
    """Raises if the data end at `end` seconds though `promised` reaches to what is wanted."""
    if end < min(wanted, promised) - CUT_SHORT:
        end = "at once" if end == -math.inf else f"at {end:.3f} s"
        raise MediaError(media.path, f"is cut short: ends {end}, not at {promised:.3f} s")


def _media(path, container):
    """The Media of an open container: the best streams that have data."""
    kinds = [streams.ranked(container.streams.video), streams.ranked(container.streams.audio)]
    if not any(kinds):
        raise MediaError(path, "holds neither picture nor sound that can be decoded")
    known, exact = {}, _exact(container, kinds)
    for kind in kinds:
        while kind and not (exact or kind[0].index in known):
            heads = [k[0] for k in kinds if k]
            ends = {s.index: _promised(container, s) for s in heads}
            stated = {s.index for s in heads if _tagged(s) is not None and ends[s.index]}
            known = extent.extents(path, container, heads, ends, stated)
            if kind[0].index not in known:
                kind.pop(0)  # It is declared, and has no data.
    if not any(kinds):
        raise MediaError(path, "holds no data in any stream of pictures or sound")
    video, audio = (streams.ready(kind[0]) if kind else None for kind in kinds)
    unused = sum(max(0, len(kind) - 1) for kind in kinds)
    info = _info(container, video, audio, known)
    return Media(path, container, video, audio, info, _end_of_file(container, exact), unused)


def _exact(container, kinds):
    """Whether the header lists every packet: an mp4 file that is not in fragments."""
    heads = [kind[0] for kind in kinds if kind]
    counted = all(head.frames > 0 and _promised(container, head) is not None for head in heads)
    return "mp4" in container.format.name and counted


def _info(container, video, audio, known):
    v0, v1 = _span(container, video, known) if video else (None, None)
    a0, a1 = _span(container, audio, known) if audio else (None, None)
    fps = float(video.average_rate or video.guessed_rate or 0) or None if video else None
    width, height = (video.width, video.height) if video else (None, None)
    return Info(v0, v1, a0, a1, fps, width, height, audio.rate or None if audio else None)


def _span(container, stream, known):
    """Start and end of a stream in seconds: the header's where the packets agree with it."""
    start, end = _start(container, stream), _promised(container, stream)
    first, last = known.get(stream.index, (start, end))
    start = start if abs(start - first) <= CLOSE else first
    end = end if end is not None and abs(end - last) <= CLOSE else last
    return start, max(start, end)


def _start(container, stream):
    if stream.start_time is None:
        return (container.start_time or 0) / av.time_base
    return stream.start_time * float(stream.time_base)


def _promised(container, stream):
    """Seconds at which a stream ends as the header says, or FFmpeg estimates; None: it does not."""
    if stream.duration:
        return _start(container, stream) + stream.duration * float(stream.time_base)
    if not container.duration:
        return None
    ends = [((container.start_time or 0) + container.duration) / av.time_base]
    if (tag := _tagged(stream)) is not None:
        ends.append(tag)
    return max(_start(container, stream), min(ends))


def _tagged(stream):
    """Seconds at which a stream ends as Matroska's tags say, written when it was finalised."""
    tag = stream.metadata.get("DURATION", "").split(":")
    if len(tag) == 3 and all(part.replace(".", "", 1).isdecimal() for part in tag):
        return int(tag[0]) * 3600 + int(tag[1]) * 60 + float(tag[2])
    return None


def _end_of_file(container, exact):
    """Seconds at which the file ends at least, as its header says; None if it does not say."""
    stated = any(name in container.format.name for name in PROMISING)
    fragments = "mp4" in container.format.name and not exact
    if not container.duration or not stated or fragments:
        return None
    # Matroska counts from the clock's zero, others from the start of the data.
    return container.duration / av.time_base
