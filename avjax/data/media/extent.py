"""Start and end of a file's streams, from their packets: headers are not trusted.

An mp4 file lists every packet, so its header is exact; it is checked where a clip meets the end of
the data (avjax.data.media.packets.check_not_truncated), as are the ends of streams that
Matroska states.  Other headers give the length of the whole file, or an estimate, or nothing if
the recording was never finalized.  Then the first packets are read, and the last ones, from a seek
to the end in the header: 0.1 to 0.5 ms.  All packets are read, once per process and file, if that
does not find every stream, if the header has no end, and in small files of containers without
an index, whose clock may restart.
"""

import functools
import math
import os
from collections.abc import Sequence
from typing import Any

from av.error import FFmpegError
from av.stream import Discard

from avjax.data.media.container import demux, errors_with_path, open_container

MAX_FIRST_PACKETS = 200  # Packets read to find where each stream begins.
# Containers that recordings are joined in, and whose clock wraps; read whole up to this size.
CONCATENABLE_FORMATS = {"mpegts", "mpeg", "flv", "ogg"}
MAX_FULL_SCAN_BYTES = 64 * 2**20


def stream_extents(
    path: str,
    container: Any,
    streams: Sequence[Any],
    header_ends: dict[int, float | None],
    exact: set[int],
) -> dict[int, tuple[float, float]]:
    """Returns {stream index: (start, end)} in seconds; a stream without packets is left out.

    Args:
      path: the file's absolute path.
      container, streams: open PyAV objects; the next reader has to seek.
      header_ends: {stream index: end in seconds as the header has it, or None}.
      exact: indices of the streams whose own end the header states; it is taken as it is.
    """
    status = os.stat(path)
    is_concatenable = (
        container.format.name in CONCATENABLE_FORMATS and status.st_size <= MAX_FULL_SCAN_BYTES
    )
    if is_concatenable or None in header_ends.values():
        return _scan_all_packets(path, status.st_size, status.st_mtime_ns)
    for stream in container.streams:
        stream.discard = Discard.default if stream in streams else Discard.all
    try:
        starts = _stream_starts(path, container, streams)
        ends = _stream_ends(
            path, container, [s for s in streams if s.index not in exact], header_ends
        )
        ends |= {stream_index: header_ends[stream_index] for stream_index in exact}
    except FFmpegError:  # It cannot seek, or what is there is damaged.
        return _scan_all_packets(path, status.st_size, status.st_mtime_ns)
    if not starts.keys() == ends.keys() == header_ends.keys():
        return _scan_all_packets(path, status.st_size, status.st_mtime_ns)
    return {
        stream_index: (starts[stream_index], max(starts[stream_index], ends[stream_index]))
        for stream_index in starts
    }


def timestamp(container: Any, packet: Any) -> int | None:
    """Returns the presentation time of a packet's frame, or None if it is unknown.

    Args:
      container: the PyAV container; AVI files do not store presentation times.
      packet: a PyAV packet.

    Returns:
      the time, in units of packet.time_base.
    """
    # AVI keeps no times of showing; what stands there is a guess, a frame too late in H.264.
    guessed = packet.pts is None or container.format.name == "avi"
    return packet.dts if guessed else packet.pts


def rewind(container: Any, stream: Any) -> None:
    """Seeks to the beginning, for a reader of all packets.

    Args:
      container: an open PyAV container.
      stream: one of its streams.
    """
    first = stream.start_time or 0
    try:
        # MPEG-TS seeks by decoding time, which comes before the time of the first frame.
        container.seek(first - math.ceil(10 / float(stream.time_base)), stream=stream)
    except FFmpegError:
        container.seek(first, stream=stream)


def _stream_starts(path, container, streams):
    starts = {}
    rewind(container, streams[0])
    for number, packet in enumerate(demux(path, container, streams)):
        span = _packet_span(container, packet)
        if span:
            starts.setdefault(packet.stream_index, span[0])
        if len(starts) == len(streams) or number == MAX_FIRST_PACKETS:
            break
    return starts


def _stream_ends(path, container, streams, header_ends):
    """Ends of the streams, from the last packets; seeks again for those that end earlier."""
    ends = {}
    for stream in sorted(streams, key=lambda stream: -header_ends[stream.index]):
        if stream.index in ends:
            continue
        container.seek(
            math.floor(header_ends[stream.index] / float(stream.time_base)), stream=stream
        )
        for packet in demux(path, container, streams):
            span = _packet_span(container, packet)
            if span:
                stream_index = packet.stream_index
                ends[stream_index] = max(ends.get(stream_index, -math.inf), span[1])
    return ends


@functools.lru_cache(maxsize=4096)
def _scan_all_packets(path, size, changed):
    """As `stream_extents`, from all packets of the file of that size and time of change."""
    spans = {}
    with open_container(path) as container, errors_with_path(path):
        streams = [s for s in container.streams if s.type in ("video", "audio")]
        for packet in demux(path, container, streams):
            span = _packet_span(container, packet)
            if span:
                low, high = spans.get(packet.stream_index, span)
                spans[packet.stream_index] = min(low, span[0]), max(high, span[1])
    return spans


def _packet_span(container, packet):
    """(start, end) in seconds of a packet with data and a time, else None."""
    stamp = timestamp(container, packet)
    if stamp is None or packet.size == 0:
        return None
    base = float(packet.time_base)
    return stamp * base, (stamp + (packet.duration or 0)) * base
