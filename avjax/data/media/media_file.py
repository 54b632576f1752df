"""An open media file: its streams and their times.

Which streams are used: avjax.data.media.streams.  Their times: from the header if that is exact,
else from the packets (avjax.data.media.extent).
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import av

from avjax.data.media import extent, streams
from avjax.data.media.container import (  # noqa: F401 (this is where others take them from)
    MAX_PIXELS,
    MediaError,
    demux,
    errors_with_path,
    open_container,
)

HEADER_TOLERANCE = 0.1  # Seconds by which a header may differ from the packets and is kept.
# Containers whose header says how long the file is; what others say is an estimate.
FORMATS_WITH_LENGTH = ("mp4", "matroska", "flac", "wav", "asf", "flv")


class Info(NamedTuple):
    """Start and end of the streams on the file's clock, in seconds; None for a missing stream.

    `fps`, `width` and `height` are those of the video, `sample_rate` (Hz) that of the audio.
    """

    video_start: float | None
    video_end: float | None
    audio_start: float | None
    audio_end: float | None
    fps: float | None
    width: int | None
    height: int | None
    sample_rate: int | None


class Media(NamedTuple):
    """An open file.

    Attributes:
      path: its absolute path.
      container: of PyAV.
      video, audio: PyAV streams, or None.
      info: times of the streams.
      header_end: seconds at which the file ends according to its header, or None.
      num_unused_streams: further streams of video or audio that could be decoded.
    """

    path: str
    container: Any
    video: Any
    audio: Any
    info: Info
    header_end: float | None
    num_unused_streams: int


@contextlib.contextmanager
def open_media(path: str) -> Iterator[Media]:
    """Opens a file once for both of its streams; yields a Media.

    Args:
      path: of the file.

    Raises:
      MediaError: it is not a supported media file.
    """
    with errors_with_path(path):
        path = os.path.abspath(path)  # So that "http:..." is a file that does not exist.
    with open_container(path) as container:
        with errors_with_path(path):
            media = _open_streams(path, container)
        yield media


def _open_streams(path, container):
    """The Media of an open container: the best streams that have data."""
    ranked = [
        streams.rank_streams(container.streams.video),
        streams.rank_streams(container.streams.audio),
    ]
    if not any(ranked):
        raise MediaError(path, "holds neither video nor audio that can be decoded")
    extents, header_is_exact = {}, _header_is_exact(container, ranked)
    for choices in ranked:
        while choices and not (header_is_exact or choices[0].index in extents):
            candidates = [k[0] for k in ranked if k]
            header_ends = {s.index: _header_end(container, s) for s in candidates}
            exact_ends = {
                s.index for s in candidates if _tagged_end(s) is not None and header_ends[s.index]
            }
            extents = extent.stream_extents(path, container, candidates, header_ends, exact_ends)
            if choices[0].index not in extents:
                choices.pop(0)  # It is declared, and has no data.
    if not any(ranked):
        raise MediaError(path, "holds no data in any stream of frames or sound")
    video, audio = (
        streams.configure_decoder(choices[0]) if choices else None for choices in ranked
    )
    num_unused_streams = sum(max(0, len(choices) - 1) for choices in ranked)
    info = _info(container, video, audio, extents)
    return Media(
        path,
        container,
        video,
        audio,
        info,
        _file_header_end(container, header_is_exact),
        num_unused_streams,
    )


def _header_is_exact(container, ranked):
    """Whether the header lists every packet: an mp4 file without fragments."""
    candidates = [choices[0] for choices in ranked if choices]
    counted = all(
        head.frames > 0 and _header_end(container, head) is not None for head in candidates
    )
    return "mp4" in container.format.name and counted


def _info(container, video, audio, extents):
    v0, v1 = _stream_span(container, video, extents) if video else (None, None)
    a0, a1 = _stream_span(container, audio, extents) if audio else (None, None)
    fps = float(video.average_rate or video.guessed_rate or 0) or None if video else None
    width, height = (video.width, video.height) if video else (None, None)
    return Info(v0, v1, a0, a1, fps, width, height, audio.rate or None if audio else None)


def _stream_span(container, stream, extents):
    """Start and end of a stream in seconds: the header's if the packets agree with it."""
    start, end = _stream_start(container, stream), _header_end(container, stream)
    first, last = extents.get(stream.index, (start, end))
    start = start if abs(start - first) <= HEADER_TOLERANCE else first
    end = end if end is not None and abs(end - last) <= HEADER_TOLERANCE else last
    return start, max(start, end)


def _stream_start(container, stream):
    if stream.start_time is None:
        return (container.start_time or 0) / av.time_base
    return stream.start_time * float(stream.time_base)


def _header_end(container, stream):
    """Seconds at which a stream ends according to the header, or as FFmpeg estimates; or None."""
    if stream.duration:
        return _stream_start(container, stream) + stream.duration * float(stream.time_base)
    if not container.duration:
        return None
    ends = [((container.start_time or 0) + container.duration) / av.time_base]
    if (tag := _tagged_end(stream)) is not None:
        ends.append(tag)
    return max(_stream_start(container, stream), min(ends))


def _tagged_end(stream):
    """Seconds at which a stream ends by Matroska's tags, written when it was finalized."""
    tag = stream.metadata.get("DURATION", "").split(":")
    if len(tag) == 3 and all(part.replace(".", "", 1).isdecimal() for part in tag):
        return int(tag[0]) * 3600 + int(tag[1]) * 60 + float(tag[2])
    return None


def _file_header_end(container, header_is_exact):
    """Seconds at which the file ends at least, according to its header; or None."""
    exact_ends = any(name in container.format.name for name in FORMATS_WITH_LENGTH)
    fragments = "mp4" in container.format.name and not header_is_exact
    if not container.duration or not exact_ends or fragments:
        return None
    # Matroska counts from the clock's zero, others from the start of the data.
    return container.duration / av.time_base
