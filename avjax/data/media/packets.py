"""Packets of one stream from a point in time on; how much is read for one clip is bounded."""

import math
from collections.abc import Iterator
from typing import Any

from av.error import FFmpegError, PermissionError as AVPermissionError
from av.stream import Discard

from avjax.data.media import extent
from avjax.data.media.container import MediaError, demux
from avjax.data.media.media_file import Media

MAX_PACKETS = 20_000  # Packets read for one clip: 11 minutes at 30 frames per second.
MAX_BYTES = 2**28  # Of these packets, and of the audio of a clip before it is mixed down.
TRUNCATION_TOLERANCE = 0.5  # Seconds that may be missing of what the header promises.
# Seeks that land too late (MPEG-TS, broken indices) are tried again from farther back.
SEEK_BACK_SECONDS = (0.0, 2.0, 20.0)
# What helps where a clip would need too much to be read.
REMEDY = "key frames are too far apart: python -m avjax.prepare writes shards that need none"


def seek_points(start: float, stream_start: float) -> Iterator[float | None]:
    """Yields earlier and earlier positions at which reading may begin.

    Args:
      start: time that is wanted, in seconds.
      stream_start: start of the stream, in seconds.

    Yields:
      seconds; at last None, the beginning of the file.
    """
    yield from (start - back for back in SEEK_BACK_SECONDS if start - back > stream_start)
    yield None


def packets(media: Media, stream: Any, point: float | None) -> Iterator[Any]:
    """Yields the packets of a stream in decoding order.

    Args:
      media: the open file.
      stream: one of its streams.
      point: reading begins at the key frame before this time in seconds; None for the beginning.

    Raises:
      MediaError: the stream has no data, or a clip would need too many packets or bytes.
    """
    for other in media.container.streams:
        other.discard = Discard.default if other is stream else Discard.all
    try:
        if point is None:
            extent.rewind(media.container, stream)
        else:
            media.container.seek(math.floor(point / float(stream.time_base)), stream=stream)
    except FFmpegError:
        try:
            media.container.seek(stream.start_time or 0, stream=stream)
        except AVPermissionError as error:  # FFmpeg's -1: there is nothing to go to.
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


def packets_until(
    media: Media, stream: Any, point: float | None, last: float
) -> tuple[list[Any], float | None]:
    """Returns the packets of all frames up to a time.

    Args:
      media: the open file.
      stream: one of its streams.
      point: as in `packets`.
      last: time in seconds.

    Returns:
      (packets, end of the stream in seconds, or None if it was not reached).
    """
    base, found, beyond, end = float(stream.time_base), [], 0, -math.inf
    for packet in packets(media, stream, point):
        if packet.dts is None and packet.size == 0:  # PyAV's mark of the end of the file.
            break
        found.append(packet)
        stamp = extent.timestamp(media.container, packet)
        if stamp is not None:
            end = max(end, (stamp + (packet.duration or 0)) * base)
        # A frame is never shown before it is decoded; where the decoding time stands in
        # for a missing time of showing, 16 packets are the most a decoder reorders.
        beyond += packet.dts is not None and packet.dts * base > last
        if beyond > 16:
            return found, None
    return found, end


def check_not_truncated(media: Media, needed: float, end: float, header_end: float) -> None:
    """Raises a MediaError if the data end earlier than the header says.

    Args:
      media: the open file.
      needed: time in seconds up to which an early end matters.
      end: end of the data, in seconds; -inf if there are none.
      header_end: end of the stream in seconds, according to the header.
    """
    if end < min(needed, header_end) - TRUNCATION_TOLERANCE:
        where = "at once" if end == -math.inf else f"at {end:.3f} s"
        raise MediaError(media.path, f"is cut short: ends {where}, not at {header_end:.3f} s")
