"""Checks of one media file: streams, duration, timestamps, checksums.

`scan_packets` reads all packets and decodes nothing; findings that require decoding are added in
avjax.data.prepare.shard_writer.  A file may have several findings; "good" means none.
"""

import hashlib
import os
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from avjax.data.media import extent, sequential
from avjax.data.media.media_file import Info, Media, MediaError, demux, errors_with_path
from avjax.data.media.packets import MAX_BYTES, MAX_PACKETS

FINDINGS = {
    "good": "no problem found",
    "no audio": "no audio that can be decoded",
    "silent": "there is audio, and it is digital silence",
    "no video": "no video that can be decoded",
    "truncated": "the data end before the header says",
    "corrupt": "the data cannot be decoded, or only with errors",
    "variable frame rate": "frames are shown at irregular intervals; avjax uses their times",
    "rotated": "the file asks to be shown rotated or mirrored; avjax does so",
    "lengths differ": "audio and video differ by more than half a second in length",
    "several streams": "more than one video or audio; avjax uses the default one, else the best",
    "few key frames": "clips cannot be read from the file itself, since key frames are too far "
    "apart: train on the shards that python -m avjax.prepare writes",
    "clock restarts": "time stamps start again within the file: joined recordings, or a counter "
    "that wrapped; write the file again, e.g. with ffmpeg",
    "gap": "neither video nor audio for more than ten seconds within the file: joined "
    "recordings, or a clock that jumps; cut the file there",
    "outside": "the segment that the list gives lies outside the file: correct the list, or "
    "leave start and end out if the files are already cut to their segments",
    "antiphase": "the channels cancel each other, so their mean is near silence; write the audio "
    "again with one channel",
    "still": "all frames are alike",
    "speech only": "a hint, from the rhythm and pitch of the audio: only speech is heard",
    "music only": "a hint, from the steady tones of the audio: only music is heard",
    "duplicate": "the same packets as another file's",
    "duplicate across splits": "the same packets as a file of another split, which is kept",
    "too short": "shorter than a clip",
    "unsupported": "no container or codec that is supported here",
}
UNUSABLE = {
    "unsupported", "corrupt", "truncated", "clock restarts", "gap", "outside", "too short",
    "duplicate across splits",
}  # fmt: skip
MISSING_FINDINGS = {"video": {"no video"}, "audio": {"no audio", "silent", "antiphase"}}
# What the reason of a MediaError says -> its finding.
REASONS = {
    "neither video nor audio": "unsupported",
    "holds no data": "corrupt",
    "not a regular file": "unsupported",  # Nor is it opened: to read a FIFO would wait for ever.
    "clock restarts": "clock restarts",
    "outside": "outside",
}
GAP_SECONDS = 10.0
# How files of known containers begin: (bytes to pass over, what stands there).
MAGIC = (
    (4, b"ftyp"), (4, b"moov"), (4, b"mdat"), (0, b"\x1aE\xdf\xa3"), (0, b"RIFF"), (0, b"OggS"),
    (0, b"fLaC"), (0, b"ID3"), (0, b"FLV"), (0, b"\x00\x00\x01\xba"), (0, b"\x47"),
    (0, b"0&\xb2u"),
)  # fmt: skip


class PacketScan(NamedTuple):
    """What the packets of a file tell.

    Attributes:
      info: a media_video.Info, as media_file.open_media has it.
      header_end: seconds at which the file ends according to its header; None if unknown.
      video_end, audio_end: end of the data in seconds; None without the stream.
      irregular_fraction: fraction of frames at irregular intervals.
      has_gap: neither stream has data for more than GAP_SECONDS, and both have some later.
      sparse_keyframes: key frames are so far apart that some clips cannot be read.
      num_unused_streams: further streams that could be decoded.
      content_hash: of all packets: copies in other containers have the same.
      time_tolerance: seconds by which a frame may be late (avjax.data.media.sequential).
    """

    info: Info
    header_end: float | None
    video_end: float | None
    audio_end: float | None
    irregular_fraction: float
    has_gap: bool
    sparse_keyframes: bool
    num_unused_streams: int
    content_hash: str
    time_tolerance: float


def scan_packets(media: Media) -> PacketScan:
    """Reads all packets of a file without decoding them.

    Args:
      media: the open file.
    """
    streams = [stream for stream in (media.video, media.audio) if stream is not None]
    ends, timestamps, groups = {}, {stream.index: [] for stream in streams}, [(0, 0)]
    hashes = {stream.index: hashlib.blake2b(digest_size=16) for stream in streams}
    with errors_with_path(media.path):
        extent.rewind(media.container, streams[0])
        for packet in demux(media.path, media.container, streams):
            if packet.size == 0:
                continue
            stream_index = packet.stream_index
            hashes[stream_index].update(bytes(packet))
            is_video = media.video is not None and stream_index == media.video.index
            if is_video:  # Packets and bytes since the last key frame.
                number, size = (0, 0) if packet.is_keyframe else groups.pop()
                groups.append((number + 1, size + packet.size))
            stamp = extent.timestamp(media.container, packet)
            if stamp is not None:
                end = (stamp + (packet.duration or 0)) * float(packet.time_base)
                ends[stream_index] = max(ends.get(stream_index, end), end)
                if not packet.is_discard:
                    timestamps[stream_index].append(stamp * float(packet.time_base))
    content_hash = hashlib.blake2b(b"".join(h.digest() for h in hashes.values()), digest_size=16)
    video = None if media.video is None else ends.get(media.video.index, media.info.video_start)
    audio = None if media.audio is None else ends.get(media.audio.index, media.info.audio_start)
    tolerance = 0.0 if media.video is None else sequential.time_tolerance(media)
    irregular_fraction = (
        0.0
        if media.video is None
        else _irregular_fraction(timestamps[media.video.index], 2 * tolerance)
    )
    return PacketScan(
        media.info, media.header_end, video, audio, irregular_fraction,
        _has_gap(list(timestamps.values())),
        any(number > MAX_PACKETS or size > MAX_BYTES for number, size in groups),
        media.num_unused_streams, content_hash.hexdigest(), tolerance,
    )  # fmt: skip


def findings(scan: PacketScan, info: Info, min_seconds: float) -> list[str]:
    """Returns the names of the findings of a PacketScan, without "good".

    Args:
      scan: a PacketScan.
      info: times of the part of the file that is used.
      min_seconds: minimum length of that part.
    """
    out = []
    if info.video_start is None:
        out.append("no video")
    if info.audio_start is None:
        out.append("no audio")
    both = ((scan.video_end, scan.info.video_end), (scan.audio_end, scan.info.audio_end))
    ends = [(end, stated) for end, stated in both if end is not None and stated is not None]
    data_end = max(end for end, _ in ends)
    is_truncated = scan.header_end is not None and data_end < scan.header_end - 0.5
    if is_truncated or any(end < header_end - 0.5 for end, header_end in ends):
        out.append("truncated")
    video = _length(info.video_start, info.video_end, scan.video_end)
    audio = _length(info.audio_start, info.audio_end, scan.audio_end)
    if video is not None and audio is not None and abs(video - audio) > 0.5:
        out.append("lengths differ")
    if max(video or 0.0, audio or 0.0) < min_seconds:
        out.append("too short")
    if scan.irregular_fraction > 0.02:
        out.append("variable frame rate")
    if scan.has_gap:
        out.append("gap")
    if scan.sparse_keyframes:
        out.append("few key frames")
    if scan.num_unused_streams:
        out.append("several streams")
    return out


def is_rotated(frame: Any) -> bool:
    """Returns whether the display matrix of an AVFrame rotates or mirrors it."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    return not (a > 0 and d > 0 and abs(b) < a and abs(c) < d)


def classify_open_error(path: str, error: MediaError) -> str:
    """Returns the finding for a file that cannot be opened.

    Args:
      path: of the file; its first bytes tell whether it is a known container.
      error: the reason.
    """
    for words, finding in REASONS.items():
        if words in error.reason:
            return finding
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except OSError:
        return "corrupt"
    is_known = any(head[skip : skip + len(mark)] == mark for skip, mark in MAGIC)
    return "corrupt" if is_known or os.path.getsize(path) == 0 else "unsupported"


def is_usable(found: Iterable[str], require: Iterable[str]) -> bool:
    """Returns whether a file can be used.

    Args:
      found: its findings.
      require: the modalities that it must have, "video", "audio" or both.
    """
    return not set(found) & UNUSABLE.union(*(MISSING_FINDINGS[modality] for modality in require))


def _length(start, header_end, end):
    return None if start is None else max(0.0, min(header_end, end) - start)


def _has_gap(timestamps):
    """Whether all stamps leave out more than GAP_SECONDS, before the last of each stream."""
    if len(timestamps) < 2 or not all(timestamps):
        return False
    timestamps_all = np.unique(np.concatenate(timestamps))
    before = timestamps_all[:-1][np.diff(timestamps_all) > GAP_SECONDS]
    return bool(np.any(before < min(map(max, timestamps))))


def _irregular_fraction(timestamps, tick):
    """Fraction of intervals that differ from the median by a fifth and by two ticks."""
    steps = np.diff(np.unique(np.asarray(timestamps, np.float64)))
    if len(steps) < 3:
        return 0.0
    middle = np.median(steps)
    # The first and last frames of a file are often of another length.
    off = np.abs(steps - middle) > max(middle / 5, 2 * tick)
    return float(np.mean(off[1:-1])) if len(off) > 2 else 0.0
