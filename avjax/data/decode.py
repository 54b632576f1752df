"""Bytes of a media file -> frames and waveform, on one clock; the only file that knows a codec.

All times are seconds on the file's own clock: a packet's time stamp times its time
base, nothing subtracted.  Sound and picture of one clip are so in step whatever
their start times, edit lists or encoder delays are.

A file is an input nobody here has made: it is opened as a plain file (no network,
no playlist that names other files), what a decoder may allocate and how much is
decoded for one clip are bounded, and whatever goes wrong is a MediaError.
"""

import contextlib
import math
import os
import stat
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.stream import Discard, Disposition
from av.video.reformatter import VideoReformatter

# Containers that hold their own data.  An allow-list, since FFmpeg looks at the bytes,
# not at the name: a playlist called x.mp4 would make it open the files it lists.
CONTAINERS = "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,wav,flac,mp3,aac"
MAX_PIXELS = 4096 * 4096
MAX_PACKETS = 20_000  # Packets read for one clip: 11 minutes at 30 frames a second.
# Decoders in which "not a reference" means that no other frame needs it.  In HEVC it
# holds within a temporal layer only, so its frames are all decoded.
SKIPPABLE = ("h264", "mpeg4", "mpeg2video", "mpeg1video")
# Sound is decoded from this long before the wanted start: Opus needs 80 ms to settle,
# MP3 borrows bits from up to nine frames (235 ms) before.
PREROLL = 0.25
# Seeks that land too late (MPEG-TS, broken indices) are tried again from farther back.
BACK = (0.0, 2.0, 20.0, math.inf)


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


@contextlib.contextmanager
def open_media(path):
    """Opens a file, once for both of its streams; yields a Media."""
    path = os.path.abspath(path)  # A path, so that "http:..." is a file that does not exist.
    with _named(path):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise MediaError(path, "is not a regular file")
        options = {
            "protocol_whitelist": "file",
            "format_whitelist": CONTAINERS,
            "max_pixels": str(MAX_PIXELS),
        }
        container = av.open(path, options=options, metadata_errors="ignore")
    with container:
        with _named(path):
            video, audio = _pick(container.streams.video), _pick(container.streams.audio)
            if video is None and audio is None:
                raise MediaError(path, "holds neither picture nor sound that can be decoded")
            media = Media(path, container, video, audio, _info(container, video, audio))
        yield media


def frames(media, start, count, fps, short_side=None):
    """The frames shown at start + i / fps, uint8 [count, H, W, 3]: the last with pts <= t.

    Times past the end of the picture repeat the clip's own frames from its start.  The
    rotation and the pixel shape that the file asks for are applied.  `short_side`
    scales the frames on the way, so that the shorter side has that many pixels.
    """
    if media.video is None:
        raise MediaError(media.path, "has no picture")
    with _named(media.path):
        times = start + np.arange(count) / fps
        for back in BACK:
            last_try = media.info.video_start >= start - back
            shown = _shown(media, times, back, last_try)
            if shown or last_try:
                break
        if not shown:
            raise MediaError(media.path, f"no frame can be decoded at {start:.3f} s")
        return _pixels(media, shown, short_side)


def sound(media, start, samples, rate):
    """Mono sound from `start` on, int16 [samples] at `rate`; silence where the file has none.

    Sample k of the file's clock at `rate` is the same value whatever clip it is asked
    in, so `start` counts to the nearest sample.
    """
    if media.audio is None:
        raise MediaError(media.path, "has no sound")
    with _named(media.path):
        begin = start - PREROLL
        for back in BACK:
            last_try = media.info.audio_start >= begin - back
            pieces = _pieces(media, begin - back, start + samples / rate + 0.05)
            if last_try or (pieces and pieces[0][0] <= start):
                break
        if not pieces:
            if start < media.info.audio_end - 0.5 and _exact(media):
                raise MediaError(media.path, f"no sound can be decoded at {start:.3f} s")
            return np.zeros(samples, np.int16)
        native = pieces[0][2]
        if any(piece[2] != native for piece in pieces):
            raise MediaError(media.path, "changes its sampling rate on the way")
        # The block begins where both clocks, the file's and the wanted one, have a sample.
        common = math.gcd(native, rate)
        tick = math.floor((start - 0.02) * common)
        skip = round(start * rate) - tick * (rate // common)
        length = math.ceil((skip + samples) * native / rate) + native // 50
        wave = _resample(_line_up(pieces, tick / common, native, length), native, rate)
        wave = np.pad(wave[skip : skip + samples], (0, max(0, skip + samples - len(wave))))
        return np.clip(np.rint(wave * 32768.0), -32768, 32767).astype(np.int16)


@contextlib.contextmanager
def _named(path):
    """Gives the file's name to what FFmpeg and the file system complain about."""
    try:
        yield
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(path, f"{type(error).__name__}: {reason}") from error


def _pick(streams):
    """The first stream with a decoder that is not cover art, or None; the rest are not read."""
    chosen = None
    for stream in streams:
        cover = stream.disposition & Disposition.attached_pic
        if chosen is None and stream.codec_context is not None and not cover:
            chosen = stream
            stream.codec_context.thread_count = 1
            stream.codec_context.thread_type = "NONE"
    return chosen


def _info(container, video, audio):
    v0, v1 = _span(container, video) if video else (None, None)
    a0, a1 = _span(container, audio) if audio else (None, None)
    fps = video and float(video.average_rate or video.guessed_rate or 0) or None
    width = video and video.codec_context.width
    height = video and video.codec_context.height
    return Info(v0, v1, a0, a1, fps, width, height, audio and audio.codec_context.sample_rate)


def _span(container, stream):
    """Start and end of a stream in seconds, from the header where it says them."""
    base = stream.time_base
    origin = (container.start_time or 0) / av.time_base
    start = origin if stream.start_time is None else float(stream.start_time * base)
    if stream.duration:
        return start, start + float(stream.duration * base)
    if container.duration:
        ends = [origin + container.duration / av.time_base]
        tag = stream.metadata.get("DURATION", "").split(":")  # Matroska: when the stream ends.
        if len(tag) == 3 and all(part.replace(".", "", 1).isdecimal() for part in tag):
            ends.append(int(tag[0]) * 3600 + int(tag[1]) * 60 + float(tag[2]))
        return start, max(start, min(ends))
    # A recording that was never finished says nothing: look at its packets.
    stamps = [
        (p.pts + (p.duration or 0)) for p in container.demux(stream) if p.pts is not None
    ]
    return start, float(max(stamps) * base) if stamps else start


def _exact(media):
    """Whether the header tells the end of each stream, rather than an estimate."""
    return "mp4" in media.container.format.name


def _packets(media, stream, start):
    """Packets of `stream` in decoding order from the key frame before `start` on."""
    for other in media.container.streams:
        other.discard = Discard.default if other is stream else Discard.all
    first = stream.start_time or 0
    at = first if start == -math.inf else max(first, math.floor(start / stream.time_base))
    media.container.seek(at, stream=stream)
    for number, packet in enumerate(media.container.demux(stream)):
        if number == MAX_PACKETS:
            raise MediaError(media.path, f"needs more than {MAX_PACKETS} packets for one clip")
        yield packet


def _shown(media, times, back, last_try):
    """The frames shown at `times`, one each; empty if decoding began too late for the first.

    The packets are listed before any is decoded: their time stamps tell which frames
    will be shown, and the decoder passes over the rest wherever no frame needs them.
    """
    stream, context = media.video, media.video.codec_context
    base = float(stream.time_base)
    slack = min(base / 2, 0.0005) + 1e-6  # Matroska rounds its time stamps to 1 ms.
    packets, end = _gather(_packets(media, stream, times[0] - back), times[-1] + slack, base)
    stamps = [p.pts for p in packets if not p.is_discard and p.dts is not None]
    known = None not in stamps
    stamps = np.unique([p for p in stamps if p is not None]) * base
    if len(stamps) and stamps[0] > times[0] + slack:
        if not last_try:
            return []
        times = np.maximum(times, stamps[0])
    if end is not None:  # What lies past the end repeats the clip from its start.
        inside = max(1, int(np.sum(times < end - slack)))
        times = times[np.arange(len(times)) % inside]
    at = np.searchsorted(stamps, times + slack, side="right") - 1
    wanted = set(np.rint(stamps[np.unique(at)] / base).astype(int).tolist()) if known else ()
    final = max((i for i, p in enumerate(packets) if p.pts in wanted), default=len(packets) - 1)
    careful = not known or context.name not in SKIPPABLE
    best, best_time = [None] * len(times), np.full(len(times), -math.inf)
    for packet in [*packets[: final + 1], None]:
        if packet is not None:
            keep = careful or packet.pts in wanted
            context.skip_frame = "DEFAULT" if keep else "NONREF"
        for frame in context.decode(packet):
            if frame.pts is None:
                continue
            time = frame.pts * base
            for i in np.flatnonzero((time <= times + slack) & (time > best_time)):
                best[i], best_time[i] = frame, time
    if best[0] is None and not last_try:
        return []
    first = next((frame for frame in best if frame is not None), None)
    return [first if frame is None else frame for frame in best] if first else []


def _gather(packets, last, base):
    """The packets of all frames up to `last` seconds, and the end of the stream if it is met."""
    gathered, beyond, end = [], 0, -math.inf
    for packet in packets:
        if packet.dts is None and packet.size == 0:  # PyAV's mark of the end of the file.
            return gathered, end
        gathered.append(packet)
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is not None:
            end = max(end, (stamp + (packet.duration or 0)) * base)
        # A frame is never shown before it is decoded; where the decoding time stands in
        # for a missing time of showing, 16 packets are the most a decoder reorders.
        beyond += packet.dts is not None and packet.dts * base > last
        if beyond > 16:
            return gathered, None
    return gathered, end


def _pixels(media, shown, short_side):
    """AVFrames -> uint8 [count, H, W, 3], upright and with square pixels."""
    frame = shown[0]
    ratio = media.video.sample_aspect_ratio or media.video.codec_context.sample_aspect_ratio
    ratio = ratio if ratio and Fraction(1, 8) <= ratio <= 8 else 1
    width, height = max(1, round(frame.width * ratio)), frame.height
    if short_side:
        scale = short_side / min(width, height)
        width, height = round(width * scale), round(height * scale)
    if max(width * height, frame.width * frame.height) > MAX_PIXELS:
        raise MediaError(media.path, f"{width} x {height} pixels; at most {MAX_PIXELS}")
    reformatter, converted = VideoReformatter(), {}
    scaler = "AREA" if width * height < frame.width * frame.height / 4 else "BILINEAR"
    for frame in shown:
        if id(frame) not in converted:
            rgb = reformatter.reformat(frame, width, height, "rgb24", interpolation=scaler, threads=1)
            converted[id(frame)] = _upright(rgb.to_ndarray(), frame)
    return np.stack([converted[id(frame)] for frame in shown])


def _upright(image, frame):
    """Applies the display matrix: a multiple of 90 degrees, mirrored or not."""
    if not frame.rotation and "DISPLAYMATRIX" not in {d.type.name for d in frame.side_data}:
        return image
    matrix = next(d for d in frame.side_data if d.type.name == "DISPLAYMATRIX")
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(a) + abs(d) < abs(b) + abs(c):  # (x, y) is shown at (a x + c y, b x + d y).
        image, a, d = image.swapaxes(0, 1), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _pieces(media, start, end):
    """Decoded sound from the seek point to `end`: a list of (time, [channels, n], rate)."""
    stream, context, pieces = media.audio, media.audio.codec_context, []
    following = None  # When the next frame begins if it does not say.
    for packet in _packets(media, stream, start):
        try:
            decoded = context.decode(packet)
        except av.InvalidDataError:
            if pieces:
                raise
            continue  # Right after a seek some decoders miss what came before.
        for frame in decoded:
            time = following if frame.pts is None else float(frame.pts * frame.time_base)
            time = media.info.audio_start if time is None else time
            following = time + frame.samples / frame.sample_rate
            pieces.append((time, _samples(frame), frame.sample_rate))
        if following is not None and following > end:
            break
    return pieces


def _samples(frame):
    """An AudioFrame as an array [channels, n] of its own type."""
    array = frame.to_ndarray()
    return array if frame.format.is_planar else array.reshape(frame.samples, -1).T


def _line_up(pieces, start, rate, length):
    """Pieces -> one float32 [length] from `start` seconds on, mono; zeros in the gaps."""
    line, following = np.zeros(length, np.float32), None
    for time, samples, _ in pieces:
        at = round((time - start) * rate)
        # Containers that count milliseconds put frames a few samples off: those are no gaps.
        if following is not None and abs(at - following) <= 0.003 * rate:
            at = following
        following = at + samples.shape[1]
        low, high = max(at, 0), min(following, length)
        if low < high:
            line[low:high] = _mono(samples[:, low - at : high - at])
    return line


def _mono(samples):
    """[channels, n] of any sample type -> float32 [n] in [-1, 1], the mean of the channels."""
    kind = samples.dtype
    mean = samples.mean(axis=0, dtype=np.float32)
    if kind == np.uint8:
        return (mean - 128.0) / 128.0
    if kind.kind == "i":
        return mean / -float(np.iinfo(kind).min)
    return np.nan_to_num(mean, nan=0.0, posinf=0.0, neginf=0.0)


def _resample(wave, native, rate):
    """float32 [n] at `native` Hz -> float32 [m] at `rate` Hz, the delay of the filter removed."""
    if native == rate:
        return wave
    frame = av.AudioFrame.from_ndarray(wave[None], format="flt", layout="mono")
    frame.sample_rate = native
    resampler = AudioResampler(format="flt", layout="mono", rate=rate)
    parts = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([part.to_ndarray()[0] for part in parts])
