"""A media file, opened: what streams it has, where they lie in time, and its packets.

A file is an input nobody here has made.  It is opened as a plain file (no network, no
playlist that names other files), what a decoder may allocate and how much is read for
one clip are bounded, and whatever goes wrong is a MediaError.
"""

import contextlib
import math
import os
import stat
from typing import Any, NamedTuple

import av
from av.stream import Discard, Disposition

# Containers that hold their own data.  An allow-list, since FFmpeg looks at the bytes,
# not at the name: a playlist called x.mp4 would make it open the files it lists.
CONTAINERS = "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,wav,flac,mp3,aac"
MAX_PIXELS = 4096 * 4096
MAX_PACKETS = 20_000  # Packets read for one clip: 11 minutes at 30 frames a second.
MAX_BYTES = 2**28  # Of these packets, and of the sound of a clip before it is mixed down.
CUT_SHORT = 0.5  # Seconds that may be missing of what the header promises.
MAX_STREAMS = 100
# Seeks that land too late (MPEG-TS, broken indices) are tried again from farther back.
BACK = (0.0, 2.0, 20.0)
# Titles are not always UTF-8, which from version 19 on PyAV takes as they are.
LENIENT = {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}


class MediaError(Exception):
    """A file that cannot give the clip asked of it: `path` and `reason`."""

    def __init__(self, path, reason):
        super().__init__(path, reason)  # Both, so that it can be pickled.
        self.path, self.reason = path, reason

    def __str__(self):
        return f"{self.path}: {self.reason}"


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
    """An open file.  `video` and `audio` are PyAV streams, or None."""

    path: str
    container: Any
    video: Any
    audio: Any
    info: Info
    exact: bool  # The header tells the end of each stream, not an estimate.


@contextlib.contextmanager
def open_media(path):
    """Opens a file, once for both of its streams; yields a Media."""
    with named(path):
        path = os.path.abspath(path)  # So that "http:..." is a file that does not exist.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise MediaError(path, "is not a regular file")
        options = {
            "protocol_whitelist": "file",
            "format_whitelist": CONTAINERS,
            "max_pixels": str(MAX_PIXELS),
            "max_streams": str(MAX_STREAMS),
            # FFmpeg decodes a few frames to learn how they are stored: their pixels don't matter.
            "skip_loop_filter": "all",
            "skip_idct": "all",
        }
        container = av.open(path, options=options, **LENIENT)
    with container:
        with named(path):
            video, audio = _pick(container.streams.video), _pick(container.streams.audio)
            if video is None and audio is None:
                raise MediaError(path, "holds neither picture nor sound that can be decoded")
            exact = "mp4" in container.format.name
            media = Media(path, container, video, audio, _info(container, video, audio), exact)
        yield media


@contextlib.contextmanager
def named(path):
    """Gives the file's name to what FFmpeg and the file system complain about."""
    try:
        yield
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(path, f"{type(error).__name__}: {reason}") from error


def seek_points(start, stream_start):
    """Where to begin reading for `start`, in seconds, ever earlier; at last None, the beginning."""
    yield from (start - back for back in BACK if start - back > stream_start)
    yield None


def demux(container, streams):
    """Packets of streams; ValueError where PyAV meets a stream that the header did not name."""
    try:
        yield from container.demux(streams)
    except IndexError as error:
        raise ValueError("a stream begins on the way") from error


def packets(media, stream, point):
    """Packets of `stream` in decoding order, from the key frame before `point` on."""
    for other in media.container.streams:
        other.discard = Discard.default if other is stream else Discard.all
    first, base = stream.start_time or 0, float(stream.time_base)
    if point is None:
        # MPEG-TS seeks by decoding time, which comes before the time of the first frame.
        at = first - math.ceil(10 / base)
    else:
        at = math.floor(point / base)
    try:
        media.container.seek(at, stream=stream)
    except av.FFmpegError:
        try:
            media.container.seek(first, stream=stream)
        except av.error.PermissionError as error:  # FFmpeg's -1: there is nothing to go to.
            raise MediaError(media.path, f"holds no data in stream {stream.index}") from error
    size = 0
    for number, packet in enumerate(demux(media.container, stream)):
        size += packet.size
        if number == MAX_PACKETS:
            raise MediaError(media.path, f"needs more than {MAX_PACKETS} packets for one clip")
        if size > MAX_BYTES:
            raise MediaError(media.path, f"needs more than {MAX_BYTES} bytes for one clip")
        yield packet


def packets_until(media, stream, point, last):
    """The packets of all frames up to `last` seconds, and the end of the stream if it is met."""
    base, found, beyond, end = float(stream.time_base), [], 0, -math.inf
    for packet in packets(media, stream, point):
        if packet.dts is None and packet.size == 0:  # PyAV's mark of the end of the file.
            break
        found.append(packet)
        stamp = stamp_of(media, packet)
        if stamp is not None:
            end = max(end, (stamp + (packet.duration or 0)) * base)
        # A frame is never shown before it is decoded; where the decoding time stands in
        # for a missing time of showing, 16 packets are the most a decoder reorders.
        beyond += packet.dts is not None and packet.dts * base > last
        if beyond > 16:
            return found, None
    return found, end


def stamp_of(media, packet):
    """When a packet's frame is shown, in its time base, as far as is known; else None."""
    # AVI keeps no times of showing; what stands there is a guess, a frame too late in H.264.
    guessed = packet.pts is None or media.container.format.name == "avi"
    return packet.dts if guessed else packet.pts


def check_whole(media, wanted, end, promised):
    """Raises if the data end at `end` seconds though the header promises what is wanted."""
    if media.exact and end < min(wanted, promised) - CUT_SHORT:
        end = "at once" if end == -math.inf else f"at {end:.3f} s"
        raise MediaError(media.path, f"is cut short: ends {end}, not at {promised:.3f} s")


def _pick(streams):
    """The first stream with a decoder that is not cover art, or None."""
    for stream in streams:
        if stream.codec_context is None or stream.disposition & Disposition.attached_pic:
            continue
        stream.codec_context.thread_count = 1
        stream.codec_context.thread_type = "NONE"
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        return stream
    return None


def _info(container, video, audio):
    v0, v1 = _span(container, video) if video else (None, None)
    a0, a1 = _span(container, audio) if audio else (None, None)
    fps = float(video.average_rate or video.guessed_rate or 0) or None if video else None
    width, height = (video.width, video.height) if video else (None, None)
    return Info(v0, v1, a0, a1, fps, width, height, audio.rate if audio else None)


def _span(container, stream):
    """Start and end of a stream in seconds, from the header where it says them."""
    base = float(stream.time_base)
    origin = (container.start_time or 0) / av.time_base
    start = origin if stream.start_time is None else stream.start_time * base
    if stream.duration:
        return start, start + stream.duration * base
    if container.duration:
        ends = [origin + container.duration / av.time_base]
        tag = stream.metadata.get("DURATION", "").split(":")  # Matroska: when the stream ends.
        if len(tag) == 3 and all(part.replace(".", "", 1).isdecimal() for part in tag):
            ends.append(int(tag[0]) * 3600 + int(tag[1]) * 60 + float(tag[2]))
        return start, max(start, min(ends))
    # A recording that was never finished says nothing: look at its packets.
    stamps = [p.pts + (p.duration or 0) for p in demux(container, stream) if p.pts is not None]
    return start, max(start, max(stamps, default=0) * base)
