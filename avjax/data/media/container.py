"""Opens the container of a media file safely: a regular file, no network, no playlist, bounded.

Files are untrusted input: FFmpeg may read only this file, what a decoder may allocate is bounded,
and every failure is a MediaError.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import av
from av.error import FFmpegError

from avjax.runtime.regular_files import special_kind

# Containers that hold their own data.  An allow-list, since FFmpeg looks at the bytes,
# not at the name: a playlist called x.mp4 would make it open the files it lists.
CONTAINERS = "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,wav,flac,mp3,aac"
MAX_PIXELS = 4096 * 4096
MAX_STREAMS = 100
MAX_BACKWARD_SECONDS = (
    1.0  # Seconds by which decoding times may fall back; more is a clock that restarts.
)
# Titles are not always UTF-8, which from version 19 on PyAV takes as they are.
METADATA_OPTIONS: dict[str, Any] = (
    {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}
)


class MediaError(Exception):
    """A file that cannot give the requested clip: `path` and `reason`."""

    def __init__(self, path, reason):
        super().__init__(path, reason)  # Both, so that it can be pickled.
        self.path, self.reason = path, reason

    def __str__(self):
        return f"{self.path}: {self.reason}"


@contextlib.contextmanager
def errors_with_path(path: str) -> Iterator[None]:
    """Converts errors of FFmpeg and of the file system to a MediaError with the path.

    Args:
      path: of the file.
    """
    try:
        yield
    except (FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(path, f"{type(error).__name__}: {reason}") from error


def open_container(path: str) -> Any:
    """Opens a PyAV container; close it after use.

    Args:
      path: absolute path, with any characters.

    Returns:
      av.container.InputContainer.

    Raises:
      MediaError: it is not a regular file, or not a supported container.
    """
    with errors_with_path(path):
        if kind := special_kind(path):
            raise MediaError(path, f"is {kind}, not a regular file")
        options = {
            "protocol_whitelist": "file",
            "format_whitelist": CONTAINERS,
            "max_pixels": str(MAX_PIXELS),
            "max_streams": str(MAX_STREAMS),
            # FFmpeg decodes a few frames to learn how they are stored: their pixels don't matter.
            "skip_loop_filter": "all",
            "skip_idct": "all",
        }
        return av.open(path, options=options, **METADATA_OPTIONS)


def demux(path: str, container: Any, streams: Any) -> Iterator[Any]:
    """Yields the packets of streams, without a last one that is truncated.

    Args:
      path: of the file, for errors.
      container: an open PyAV container.
      streams: the PyAV stream or streams to read.

    Yields:
      PyAV packets, in the order of the file.

    Raises:
      MediaError: a clock restarts, or a stream appears that the header does not declare.
    """
    pending, clocks = None, {}
    bases = {stream.index: float(stream.time_base) for stream in container.streams}
    try:
        for packet in container.demux(streams):
            if pending is not None and packet.size:  # Not the end of the file.
                yield pending
            pending = None
            if packet.dts is not None:  # Times of showing are not in order.
                stream_index = packet.stream_index
                time, previous = packet.dts * bases[stream_index], clocks.get(stream_index)
                if previous is not None and time < previous - MAX_BACKWARD_SECONDS:
                    raise MediaError(
                        path,
                        f"its clock restarts: {previous:.3f} s is followed by {time:.3f} s in "
                        f"stream "
                        f"{stream_index} (joined recordings, or a counter that wrapped); write it "
                        f"again, "
                        "e.g. with ffmpeg, or cut it there",
                    )
                clocks[stream_index] = time
            if packet.is_corrupt and packet.size:  # The last one is incomplete if it was cut off.
                pending = packet
            else:
                yield packet
    except (IndexError, KeyError) as error:  # PyAV meets a stream that it has not listed.
        raise MediaError(path, "has a stream that its header does not declare") from error
