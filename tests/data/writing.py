"""Media files written with PyAV, and some of them changed afterwards, for tests of decoding."""

import struct
from fractions import Fraction

import av
import cv2
import numpy as np

from tests.data.media.test_video import click, numbered, turned

LENGTH, CLICK = 2.4, 1.3  # Seconds.
PICTURES = [numbered(i) for i in range(60)]
WAVE = click(LENGTH, 48000, (CLICK,))
PCM = dict(audio="pcm_s16le")


def media(
    path, pictures=PICTURES, wave=WAVE, video="libx264", audio="aac", pixels="yuv420p", kind=None,
    layout="mono", rate=48000, fps=25, stamps=None, starts=(0.0, 0.0), aspect=None, coding=(), muxing=(),
):  # fmt: skip
    """Writes `pictures` [T, H, W, 3] and `wave` [N], the same in all channels of `layout`.

    stamps: the times of the pictures in ms.  starts: of picture and sound, in seconds.
    """
    with av.open(str(path), "w", options=dict(muxing)) as file:
        picture = sound = None
        if pictures is not None:
            picture = file.add_stream(
                video, rate=fps, options={"crf": "10", "g": "12"} | dict(coding)
            )
            picture.height, picture.width = pictures[0].shape[:2]
            picture.pix_fmt = pixels
            picture.codec_context.thread_count = 1
            if stamps is not None:
                picture.codec_context.time_base = Fraction(1, 1000)
            if aspect:
                picture.codec_context.sample_aspect_ratio = aspect
        if wave is not None:
            sound = file.add_stream(audio, rate=rate, options={"strict": "-2"})
            sound.codec_context.layout = layout
            if kind:
                sound.codec_context.format = kind
        for i, image in enumerate(pictures or []):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.time_base = 1 / Fraction(fps) if stamps is None else Fraction(1, 1000)
            frame.pts = (i if stamps is None else stamps[i]) + round(starts[0] / frame.time_base)
            file.mux(picture.encode(frame))
        if picture:
            file.mux(picture.encode(None))
        for frame in _sounding(wave, sound.codec_context, rate, starts[1]) if sound else ():
            file.mux(sound.encode(frame))
        if sound:
            file.mux(sound.encode(None))


def _sounding(wave, context, rate, start):
    """A wave as AVFrames, the same in all channels; PyAV converts them to what the encoder wants."""
    wave = wave if wave.dtype.kind == "f" else (wave / 32768).astype(np.float32)
    for k in range(0, len(wave), 1024):
        part = np.repeat(wave[k : k + 1024, None], context.layout.nb_channels, 1).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(part, format="flt", layout=context.layout.name)
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = k + round(start * rate)
        yield frame


def _rewrite(path, change):
    """Changes the bytes of a file: change(bytearray) -> bytes, or None if in place."""
    with open(path, "rb") as file:
        data = bytearray(file.read())
    data = change(data) or data
    with open(path, "wb") as file:
        file.write(data)


def edited(path):
    """A film whose edit list leaves out the first 0.4 s of the picture."""

    def change(data):
        at = data.index(b"elst") + 8  # Past version and flags, and how many there are.
        entry = struct.unpack_from(">Ii", data, at + 4)
        scale = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)[0]
        struct.pack_into(">Ii", data, at + 4, entry[0] - 400, entry[1] + round(0.4 * scale))

    media(path)
    _rewrite(path, change)


def tilted(path, quarters):
    """A film whose pictures lie on their side, and whose display matrix puts them upright."""
    media(path, [np.rot90(image, quarters) for image in PICTURES])
    turned(path, [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)][quarters])


def without_rate(path):
    """An AVI of 0 pictures a second."""

    def change(data):
        at = data.index(b"strh") + 8
        struct.pack_into("<II", data, at + 20, 0, 0)  # Scale and rate.
        struct.pack_into("<I", data, data.index(b"avih") + 8, 0)

    media(path, video="mpeg4", **PCM)
    _rewrite(path, change)


def resized(path):
    """A stream in which the pictures change their size."""
    media(path)
    with open(path, "rb") as file:
        first = file.read()
    media(path, [image[:32, :32] for image in PICTURES], starts=(LENGTH, LENGTH))
    _rewrite(path, lambda data: first + data)


def joined(path, start=0.0, **how):
    """Two recordings in one file, the second of which has a clock that begins at `start` seconds."""
    media(path, **how)
    with open(path, "rb") as file:
        first = file.read()
    media(path, starts=(start, start), **how)
    _rewrite(path, lambda data: first + data)


def jpeg():
    return cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes()


def with_cover(path):
    """Sound with cover art, which FFmpeg calls a video stream."""
    media(path, None, audio="libmp3lame")
    body = b"\0image/jpeg\0\3\0" + jpeg()
    tag = b"APIC" + struct.pack(">I", len(body)) + b"\0\0" + body
    size = bytes((len(tag) >> shift) & 127 for shift in (21, 14, 7, 0))
    _rewrite(path, lambda data: b"ID3\3\0\0" + size + tag + data[data.index(b"\xff") :])


def covered(path):
    """A film with cover art in its metadata."""
    box = lambda name, body: struct.pack(">I4s", 8 + len(body), name) + body
    art = box(b"covr", box(b"data", struct.pack(">II", 13, 0) + jpeg()))
    handler = box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    more = box(b"udta", box(b"meta", bytes(4) + handler + box(b"ilst", art)))

    def change(data):
        at = data.rindex(b"moov") - 4
        size = struct.unpack_from(">I", data, at)[0]
        # The moov atom ends the file, so that nothing behind it moves.
        struct.pack_into(">I", data, at, size + len(more))
        return data[: at + size] + more

    media(path)
    _rewrite(path, change)
