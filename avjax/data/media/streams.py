"""Selects the video and audio streams of a file: those that a player would choose."""

from collections.abc import Iterable
from typing import Any

from av.stream import Disposition

from avjax.data.media.container import MAX_PIXELS

# Frames that belong to a film and are not it, and audio that comments on it.
STILLS = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
ACCESSIBILITY_OR_COMMENT = (
    Disposition.hearing_impaired | Disposition.visual_impaired | Disposition.comment
)
PREVIEW_RATIO = 50  # A stream with so many times fewer pixels a second than another is a preview.


def rank_streams(streams: Iterable[Any]) -> list[Any]:
    """Returns the PyAV streams of one type that can be decoded, the one to use first.

    Like FFmpeg and players: the default stream, then the best; the first among equals.  Previews,
    streams for the hearing or visually impaired and commentaries come last.  Cover art and streams
    without a decoder are left out.
    """
    usable = [stream for stream in streams if _decodable(stream)]
    if len(usable) < 2:
        return usable
    best = max(_quality(stream) for stream in usable)
    return sorted(usable, key=lambda stream: _rank(stream, best), reverse=True)


def configure_decoder(stream: Any) -> Any:
    """Sets a PyAV stream to decode in this thread and in bounded memory, and returns it."""
    stream.codec_context.thread_count = 1
    stream.codec_context.thread_type = "NONE"
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return stream


def _decodable(stream):
    if stream.codec_context is None or stream.disposition & STILLS:
        return False
    # Other decoders learn the channels from the data, which may begin after what FFmpeg probes.
    plain = stream.type == "audio" and stream.codec_context.name.startswith("pcm_")
    return not plain or (stream.channels > 0 and stream.rate > 0)


def _rank(stream, best):
    preview = stream.type == "video" and _quality(stream) * PREVIEW_RATIO < best
    default = bool(stream.disposition & Disposition.default)
    aside = bool(stream.disposition & ACCESSIBILITY_OR_COMMENT)
    bits = stream.codec_context.bit_rate or 0
    return not preview, not aside, default, _quality(stream), bits


def _quality(stream):
    """Pixels per second of video, channels of audio."""
    if stream.type == "audio":
        return stream.channels
    return stream.width * stream.height * float(stream.average_rate or stream.guessed_rate or 1)
