"""What is the matter with a media file: all that can be told without knowing what it should be.

`survey` reads all packets and decodes nothing; what only decoding shows is added by whoever
decodes (avjax.data.prepare.shard_writer).  A file may have several findings; "good" is to have
none.
"""

import hashlib
import os
from typing import NamedTuple

import numpy as np

from avjax.data.media import extent, sequential
from avjax.data.media.media_file import MAX_BYTES, MAX_PACKETS, demux, named
from avjax.data.media.video import Info

FINDINGS = {
    "good": "no problem found",
    "no audio": "no sound that can be decoded",
    "silent": "there is sound, and it is digital silence",
    "no video": "no picture that can be decoded",
    "truncated": "the data end before the header says",
    "corrupt": "the data cannot be decoded, or only with errors",
    "variable frame rate": "pictures follow each other at uneven times; avjax goes by their times",
    "rotated": "the file asks to be shown turned or mirrored; avjax does so",
    "lengths differ": "sound and picture differ by more than half a second in length",
    "several streams": "more than one picture or sound; avjax uses the default one, else the best",
    "few key frames": "clips cannot be read from the file itself, since key frames are too far "
    "apart: train on the shards that python -m avjax.prepare writes",
    "clock restarts": "time stamps start again within the file: joined recordings, or a counter "
    "that wrapped; write the file again, e.g. with ffmpeg",
    "gap": "neither picture nor sound for more than ten seconds within the file: joined "
    "recordings, or a clock that jumps; cut the file there",
    "outside": "the segment that the list gives lies outside the file: correct the list, or "
    "leave start and end out if the files are already cut to their segments",
    "antiphase": "the channels cancel each other, so their mean is near silence; write the sound "
    "again with one channel",
    "still": "all frames are alike",
    "speech only": "a hint, from the rhythm and pitch of the sound: only speech is heard",
    "music only": "a hint, from the steady tones of the sound: only music is heard",
    "duplicate": "the same packets as another file's",
    "duplicate across splits": "the same packets as a file of another split, which is kept",
    "too short": "shorter than a clip",
    "unsupported": "no container or codec that is supported here",
}
UNUSABLE = {
    "unsupported", "corrupt", "truncated", "clock restarts", "gap", "outside", "too short",
    "duplicate across splits",
}  # fmt: skip
NEEDS = {"video": {"no video"}, "audio": {"no audio", "silent", "antiphase"}}
# What the reason of a MediaError says -> its finding.
REASONS = {
    "neither picture nor sound": "unsupported",
    "holds no data": "corrupt",
    "clock restarts": "clock restarts",
    "outside": "outside",
}
GAP = 10.0  # Seconds.
# How files of known containers begin: (bytes to pass over, what stands there).
MAGIC = (
    (4, b"ftyp"), (4, b"moov"), (4, b"mdat"), (0, b"\x1aE\xdf\xa3"), (0, b"RIFF"), (0, b"OggS"),
    (0, b"fLaC"), (0, b"ID3"), (0, b"FLV"), (0, b"\x00\x00\x01\xba"), (0, b"\x47"),
    (0, b"0&\xb2u"),
)  # fmt: skip


class Survey(NamedTuple):
    """What the packets of a file tell.

    info:       a media_video.Info, as media_file.open_media has it.
    promised:   seconds at which the file ends as its header says; None where it does not say.
    video_end, audio_end:  where the data end, in seconds; None without the stream.
    uneven:     share of pictures that come sooner or later than the others do.
    gap:        neither stream has data for more than GAP seconds, and both have some later.
    sparse:     key frames are so far apart that some clips cannot be read.
    unused:     how many further streams could be decoded.
    content:    a hash of all packets: copies in other containers have the same.
    slack:      seconds by which a picture may be late for its time (avjax.data.media.sequential).
    """

    info: Info
    promised: float | None
    video_end: float | None
    audio_end: float | None
    uneven: float
    gap: bool
    sparse: bool
    unused: int
    content: str
    slack: float


def survey(media):
    """Reads a file's packets from beginning to end; returns a Survey."""
    streams = [stream for stream in (media.video, media.audio) if stream is not None]
    ends, stamps, groups = {}, {stream.index: [] for stream in streams}, [(0, 0)]
    hashes = {stream.index: hashlib.blake2b(digest_size=16) for stream in streams}
    with named(media.path):
        extent.rewind(media.container, streams[0])
        for packet in demux(media.path, media.container, streams):
            if packet.size == 0:
                continue
            at = packet.stream_index
            hashes[at].update(bytes(packet))
            picture = media.video is not None and at == media.video.index
            if picture:  # Packets and bytes since the last key frame.
                number, size = (0, 0) if packet.is_keyframe else groups.pop()
                groups.append((number + 1, size + packet.size))
            stamp = extent.stamp_of(media.container, packet)
            if stamp is not None:
                end = (stamp + (packet.duration or 0)) * float(packet.time_base)
                ends[at] = max(ends.get(at, end), end)
                if not packet.is_discard:
                    stamps[at].append(stamp * float(packet.time_base))
    content = hashlib.blake2b(b"".join(h.digest() for h in hashes.values()), digest_size=16)
    video = None if media.video is None else ends.get(media.video.index, media.info.video_start)
    audio = None if media.audio is None else ends.get(media.audio.index, media.info.audio_start)
    slack = 0.0 if media.video is None else sequential.slack(media)
    uneven = 0.0 if media.video is None else _uneven(stamps[media.video.index], 2 * slack)
    return Survey(
        media.info, media.promised, video, audio, uneven, _gap(list(stamps.values())),
        any(number > MAX_PACKETS or size > MAX_BYTES for number, size in groups),
        media.unused, content.hexdigest(), slack,
    )  # fmt: skip


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
    there = max(end for end, _ in ends if end is not None)
    lacking = seen.promised is not None and there < seen.promised - 0.5
    if lacking or any(end is not None and end < promised - 0.5 for end, promised in ends):
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
    if seen.gap:
        out.append("gap")
    if seen.sparse:
        out.append("few key frames")
    if seen.unused:
        out.append("several streams")
    return out


def turned(frame):
    """Whether a picture's display matrix is other than upright."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    return not (a > 0 and d > 0 and abs(b) < a and abs(c) < d)


def refused(path, error):
    """The finding for a file that cannot be read at all: a MediaError -> its name."""
    for words, finding in REASONS.items():
        if words in error.reason:
            return finding
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


def _gap(stamps):
    """Whether all stamps leave out more than GAP seconds, before the last stamp of each stream."""
    if len(stamps) < 2 or not all(stamps):
        return False
    every = np.unique(np.concatenate(stamps))
    before = every[:-1][np.diff(every) > GAP]
    return bool(np.any(before < min(map(max, stamps))))


def _uneven(stamps, tick):
    """Share of the steps between `stamps` that are a fifth, and two ticks, off the median."""
    steps = np.diff(np.unique(stamps))
    if len(steps) < 3:
        return 0.0
    middle = np.median(steps)
    # The first and last pictures of a file are often of another length.
    off = np.abs(steps - middle) > max(middle / 5, 2 * tick)
    return float(np.mean(off[1:-1])) if len(off) > 2 else 0.0
