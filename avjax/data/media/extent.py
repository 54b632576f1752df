"""Where the data of a file's streams begin and end, by their packets: headers are not believed.

An mp4 file lists every packet, so its header is exact, and is checked where a clip meets the end
of the data (avjax.data.media.media_file.check_whole), as are the ends of streams that Matroska
states. Other headers give the length of the whole file, or an estimate, or nothing if the recording
was never finalised.  There the first packets are read, and the last ones, from a seek to the
promised end: 0.1 to 0.5 ms.  All packets are read, once for each process and file, where that
does not find every stream, where there is no promise, and in small files of containers without
an index, whose clock may restart.
"""

import functools
import math
import os

import av
from av.stream import Discard

from avjax.data.media.container import demux, named, opened

FIRST = 200  # Packets read to find where each stream begins.
# Containers that recordings are joined in, and whose clock wraps; read whole up to this size.
JOINED = {"mpegts", "mpeg", "flv", "ogg"}
SMALL = 64 * 2**20


def extents(
    path: str, container, streams, promised: dict, stated: set
) -> dict[int, tuple[float, float]]:
    """{stream index: (start, end)} in seconds; a stream without packets is left out.

    Args:
      path: the file's absolute path.
      container, streams: of PyAV, open; the next reader has to seek.
      promised: {stream index: end in seconds as the header has it, or None}.
      stated: indices of the streams whose own end the header states; it is taken as it is.
    """
    status = os.stat(path)
    joined = container.format.name in JOINED and status.st_size <= SMALL
    if joined or None in promised.values():
        return _of_all(path, status.st_size, status.st_mtime_ns)
    for other in container.streams:
        other.discard = Discard.default if other in streams else Discard.all
    try:
        starts = _starts(path, container, streams)
        ends = _ends(path, container, [s for s in streams if s.index not in stated], promised)
        ends |= {at: promised[at] for at in stated}
    except av.FFmpegError:  # It cannot seek, or what is there is damaged.
        return _of_all(path, status.st_size, status.st_mtime_ns)
    if not starts.keys() == ends.keys() == promised.keys():
        return _of_all(path, status.st_size, status.st_mtime_ns)
    return {at: (starts[at], max(starts[at], ends[at])) for at in starts}


def stamp_of(container, packet) -> int | None:
    """When a packet's frame is shown, in its time base, as far as is known."""
    # AVI keeps no times of showing; what stands there is a guess, a frame too late in H.264.
    guessed = packet.pts is None or container.format.name == "avi"
    return packet.dts if guessed else packet.pts


def rewind(container, stream):
    """Seeks to the beginning, for a reader of all packets."""
    first = stream.start_time or 0
    try:
        # MPEG-TS seeks by decoding time, which comes before the time of the first frame.
        container.seek(first - math.ceil(10 / float(stream.time_base)), stream=stream)
    except av.FFmpegError:
        container.seek(first, stream=stream)


def _starts(path, container, streams):
    starts = {}
    rewind(container, streams[0])
    for number, packet in enumerate(demux(path, container, streams)):
        span = _span(container, packet)
        if span:
            starts.setdefault(packet.stream_index, span[0])
        if len(starts) == len(streams) or number == FIRST:
            break
    return starts


def _ends(path, container, streams, promised):
    """Ends of the streams, from the last packets; seeks again for those that end earlier."""
    ends = {}
    for stream in sorted(streams, key=lambda stream: -promised[stream.index]):
        if stream.index in ends:
            continue
        container.seek(math.floor(promised[stream.index] / float(stream.time_base)), stream=stream)
        for packet in demux(path, container, streams):
            span = _span(container, packet)
            if span:
                at = packet.stream_index
                ends[at] = max(ends.get(at, -math.inf), span[1])
    return ends


@functools.lru_cache(maxsize=4096)
def _of_all(path, size, changed):
    """As `extents`, of all packets of the file of that size and time of change."""
    spans = {}
    with opened(path) as container, named(path):
        streams = [s for s in container.streams if s.type in ("video", "audio")]
        for packet in demux(path, container, streams):
            span = _span(container, packet)
            if span:
                low, high = spans.get(packet.stream_index, span)
                spans[packet.stream_index] = min(low, span[0]), max(high, span[1])
    return spans


def _span(container, packet):
    """(start, end) in seconds of a packet with data and a time, else None."""
    stamp = stamp_of(container, packet)
    if stamp is None or packet.size == 0:
        return None
    base = float(packet.time_base)
    return stamp * base, (stamp + (packet.duration or 0)) * base
