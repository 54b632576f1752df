"""What is the matter with a media file: all that can be told without knowing what it should be.

`survey` reads all packets and decodes nothing; what only decoding shows is added by whoever
decodes (avjax.data.shardwriter).  A file may have several findings; "good" is to have none.
"""

import hashlib
import os
from typing import NamedTuple

import numpy as np

from avjax.data import whole
from avjax.data.decode import Info
from avjax.data.media import MediaError, demux, named, stamp_of

FINDINGS = {
    "good": "nothing is the matter",
    "no audio": "no sound that can be decoded",
    "silent": "there is sound, and it is digital silence",
    "no video": "no picture that can be decoded",
    "truncated": "the data end before the header says",
    "corrupt": "the data cannot be decoded, or only with errors",
    "variable frame rate": "pictures follow each other at uneven times; avjax goes by their times",
    "rotated": "the file asks to be shown turned or mirrored; avjax does so",
    "lengths differ": "sound and picture differ by more than half a second in length",
    "duplicate": "the same packets as another file's",
    "duplicate across splits": "the same packets as a file of another split, which is kept",
    "too short": "shorter than a clip",
    "unsupported": "no container or codec that is supported here",
}
UNUSABLE = {"unsupported", "corrupt", "truncated", "too short", "duplicate across splits"}
NEEDS = {"video": {"no video"}, "audio": {"no audio", "silent"}}
# How files of known containers begin: (bytes to pass over, what stands there).
MAGIC = (
    (4, b"ftyp"), (4, b"moov"), (4, b"mdat"), (0, b"\x1aE\xdf\xa3"), (0, b"RIFF"), (0, b"OggS"),
    (0, b"fLaC"), (0, b"ID3"), (0, b"FLV"), (0, b"\x00\x00\x01\xba"), (0, b"\x47"),
    (0, b"0&\xb2u"),
)  # fmt: skip


class Survey(NamedTuple):
    """What the packets of a file tell.

    info:       a decode.Info, as the header has it.
    video_end, audio_end:  where the data end, in seconds; None without the stream.
    uneven:     share of pictures that come sooner or later than the others do.
    content:    a hash of all packets: copies in other containers have the same.
    slack:      seconds by which a picture may be late for its time (avjax.data.whole).
    """

    info: Info
    video_end: float | None
    audio_end: float | None
    uneven: float
    content: str
    slack: float


def survey(media):
    """Reads a file's packets from beginning to end; returns a Survey."""
    streams = [stream for stream in (media.video, media.audio) if stream is not None]
    ends, stamps = {}, []
    hashes = {stream.index: hashlib.blake2b(digest_size=16) for stream in streams}
    with named(media.path):
        for packet in demux(media.container, streams):
            if packet.size == 0:
                continue
            at = packet.stream.index
            hashes[at].update(bytes(packet))
            stamp = stamp_of(media, packet)
            if stamp is not None:
                end = (stamp + (packet.duration or 0)) * float(packet.time_base)
                ends[at] = max(ends.get(at, end), end)
                if media.video is not None and at == media.video.index and not packet.is_discard:
                    stamps.append(stamp * float(packet.time_base))
    content = hashlib.blake2b(b"".join(h.digest() for h in hashes.values()), digest_size=16)
    video = None if media.video is None else ends.get(media.video.index, media.info.video_start)
    audio = None if media.audio is None else ends.get(media.audio.index, media.info.audio_start)
    slack = 0.0 if media.video is None else whole.slack(media)
    uneven = _uneven(stamps, 2 * slack)
    return Survey(media.info, video, audio, uneven, content.hexdigest(), slack)


def findings(seen, info, shortest):
    """Names of what a Survey shows, without "good".

    info: the part of the file that is used, in it seconds.  shortest: the least length of that.
    """
    out = []
    if info.video_start is None:
        out.append("no video")
    if info.audio_start is None:
        out.append("no audio")
    ends = [(seen.video_end, seen.info.video_end), (seen.audio_end, seen.info.audio_end)]
    if any(end is not None and end < promised - 0.5 for end, promised in ends):
        out.append("truncated")
    spans = (
        _length(info.video_start, info.video_end, seen.video_end),
        _length(info.audio_start, info.audio_end, seen.audio_end),
    )
    if None not in spans and abs(spans[0] - spans[1]) > 0.5:
        out.append("lengths differ")
    if max(span or 0.0 for span in spans) < shortest:
        out.append("too short")
    if seen.uneven > 0.02:
        out.append("variable frame rate")
    return out


def turned(frame):
    """Whether a picture's display matrix is other than upright."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    return not (a > 0 and d > 0 and abs(b) < a and abs(c) < d)


def refused(path, error):
    """The finding for a file that could not be opened: a MediaError -> its name."""
    if not isinstance(error, MediaError) or "neither picture nor sound" in error.reason:
        return "unsupported"
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except OSError:
        return "corrupt"
    known = any(head[skip : skip + len(mark)] == mark for skip, mark in MAGIC)
    return "corrupt" if known or os.path.getsize(path) == 0 else "unsupported"


def usable(found, need):
    """Whether a file with these findings can be used by who needs "video", "audio" or both."""
    return not set(found) & UNUSABLE.union(*(NEEDS[modality] for modality in need))


def _length(start, promised, end):
    return None if start is None else max(0.0, min(promised, end) - start)


def _uneven(stamps, tick):
    """Share of the steps between `stamps` that are a fifth, and two ticks, off the median."""
    steps = np.diff(np.unique(stamps))
    if len(steps) < 3:
        return 0.0
    middle = np.median(steps)
    # The first and last pictures of a file are often of another length.
    off = np.abs(steps - middle) > max(middle / 5, 2 * tick)
    return float(np.mean(off[1:-1])) if len(off) > 2 else 0.0
