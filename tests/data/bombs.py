"""Files made by hand to do harm: bombs, lists that name other files, headers that lie."""

import os
import struct
import zlib
from fractions import Fraction

import av
import cv2
import numpy as np

HUGE = 16384
START = 36  # Where the pictures of `movie` begin: behind two heads of 20 and 16 bytes.


def atom(name, *parts):
    """An atom of a QuickTime file."""
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), name) + body


def words(*values):
    return struct.pack(f">{len(values)}I", *values)


def movie(path, count, side=2, keys=None, extra=b"", data=None, claim=None):
    """A QuickTime film of `count` uncompressed pictures that takes no time to write.

    keys: which pictures are key frames; None: all.  extra: atoms in the description of the
    format.  data: a data reference other than to the file itself.  claim: pictures claimed.
    """
    size, claim = side * side * 3, claim or count
    form = struct.pack(">6xH16xHHIIIH32xHh", 1, side, side, 72 << 16, 72 << 16, 0, 1, 24, -1)
    table = [
        atom(b"stsd", words(0, 1), atom(b"raw ", form, extra)),
        atom(b"stts", words(0, 1, claim, 1)),
        atom(b"stsc", words(0, 1, 1, claim, 1)),
        atom(b"stsz", words(0, size, claim)),
        atom(b"stco", words(0, 1, START)),
    ]
    table += [] if keys is None else [atom(b"stss", words(0, len(keys), *keys))]
    where = atom(b"dref", words(0, 1), data or atom(b"url ", words(1)))
    length = min(claim, 2**31 - 1)
    matrix = words(1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    track = atom(
        b"trak",
        atom(
            b"tkhd", words(3, 0, 0, 1, 0, length, 0, 0, 0, 0), matrix, words(side << 16, side << 16)
        ),
        atom(
            b"mdia",
            atom(b"mdhd", words(0, 0, 0, 25, length, 0)),
            atom(b"hdlr", words(0, 0), b"vide", bytes(13)),
            atom(
                b"minf", atom(b"vmhd", words(1, 0, 0)), atom(b"dinf", where), atom(b"stbl", *table)
            ),
        ),
    )
    head = atom(b"mvhd", words(0, 0, 0, 25, length, 1 << 16, 0, 0, 0), matrix, bytes(24), words(2))
    with open(path, "wb") as file:  # Black pictures, which a sparse file holds for nothing.
        file.write(atom(b"ftyp", b"qt  ", words(0), b"qt  "))
        file.write(struct.pack(">I4sQ", 1, b"mdat", 16 + count * size))
        file.truncate(START + count * size)
        file.seek(START + count * size)
        file.write(atom(b"moov", head, track))


def png(side):
    """A black picture as PNG, a thousandth of its size."""
    rows = zlib.compress(bytes((side // 8 + 1) * side), 9)

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + words(zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def pictures(path, codec, data, side, count=50):
    """A film of `count` times the same compressed picture; the container says `side`."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25)
        stream.width = stream.height = side
        stream.pix_fmt = {"png": "rgb24", "mjpeg": "yuvj420p"}[codec]
        for i in range(count):
            packet = av.Packet(data)
            packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, i, i, True
            packet.time_base = Fraction(1, 25)
            file.mux(packet)


def jpeg(side):
    """A JPEG of 64 x 64 that says it is larger."""
    data = bytearray(cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", side, side)
    return bytes(data)


def alias(path):
    """A data reference: the samples lie in another file, in the folder above."""
    name = os.path.basename(path).encode()
    full = str(path).encode()
    full += bytes(len(full) % 2)
    return atom(
        b"alis", words(0), bytes(10), b"\0", bytes(27), bytes(12), bytes([len(name)]),
        name.ljust(63, b"\0"), bytes(16), struct.pack(">HH", 2, 2), bytes(16),
        struct.pack(">HH", 2, len(full)), full, struct.pack(">hH", -1, 0),
    )  # fmt: skip


def wav(path, channels, rate, seconds, bits=16, tag=1):
    """A silent WAV file, sparse."""
    block = max(1, channels * bits // 8)
    size = min(2**32 - 50, int(seconds * rate) * block)
    form = struct.pack(
        "<HHIIHH", tag, channels, rate, min(rate * block, 2**32 - 1), block % 65536, bits
    )
    with open(path, "wb") as file:
        file.write(b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + struct.pack("<I", 16))
        file.write(form + b"data" + struct.pack("<I", size))
        file.truncate(44 + size)


def many_streams(path, count):
    """An AVI or Matroska file of `count` sounds."""
    with av.open(str(path), "w") as file:
        for _ in range(count):
            file.add_stream("pcm_s16le", rate=8000).codec_context.layout = "mono"
        for stream in file.streams:
            packet = av.Packet(bytes(1600))
            packet.stream, packet.pts, packet.dts = stream, 0, 0
            packet.time_base = Fraction(1, 25)
            file.mux(packet)


def playlists(url, secret):
    """{name: text} of files that name others: `secret`, a path outside the root, and `url`."""
    near = os.path.join("..", os.path.basename(os.path.dirname(secret)), os.path.basename(secret))
    concat = "ffconcat version 1.0\nfile '{}'\nduration 2\n".format
    hls = "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{}\n#EXT-X-ENDLIST\n".format
    dash = (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011" mediaPresentationDuration="PT2S">'
        '<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="9">'
        "<BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>"
    ).format
    port = url.split(":")[2].split("/")[0]
    return {
        "concat_relative.mp4": concat(near),
        "concat_absolute.mp4": concat(secret),
        "concat_http.mp4": concat(url),
        "concat_beside.mp4": concat("plain.mp4"),
        "concat_itself.mp4": concat("concat_itself.mp4"),
        "hls_file.mp4": hls(f"file:{secret}"),
        "hls_relative.mp4": hls(near),
        "hls_http.mp4": hls(url),
        "hls_key.mp4": hls(secret).replace("#EXTINF", f'#EXT-X-KEY:METHOD=AES-128,URI="{url}"\n#EXTINF'),
        "dash_file.mp4": dash(f"file://{secret}"),
        "dash_http.mp4": dash(url),
        "sdp.mp4": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "asx.mp4": f'<asx version="3.0"><entry><ref href="{url}"/></entry></asx>',
        "concat.mkv": concat(secret),
        "hls.wav": hls(url),
    }  # fmt: skip


def files(secret, File):
    """{name: File} of what is large where it claims to be small, or small where it claims to be
    large.
    """
    good, sound = dict(shown=None, click=None), dict(size=None)
    open_ = dict(either=True, **good)
    black = png(HUGE)
    return {
        "million.mov": File(lambda path: movie(path, 10**6), size=(2, 2), **good),
        "million_one_key.mov": File(
            lambda path: movie(path, 10**6, keys=[1]), "20000 packets", size=(2, 2), **good
        ),
        "claims.mov": File(lambda path: movie(path, 99, claim=2**31 - 1), "no data"),
        "large.mov": File(lambda path: movie(path, 99, HUGE), "at most|allocate|GiB|Invalid"),
        "large_png.mov": File(lambda path: pictures(path, "png", black, 64), "Invalid|at most"),
        "large_png.avi": File(lambda path: pictures(path, "png", black, 64), "Invalid|at most"),
        "large_jpeg.mov": File(
            lambda path: pictures(path, "mjpeg", jpeg(HUGE), 64), "Invalid|at most"
        ),
        "large_jpeg.avi": File(
            lambda path: pictures(path, "mjpeg", jpeg(65500), 64), "Invalid|at most"
        ),
        "extra.mov": File(lambda path: movie(path, 99, extra=atom(b"glbl", bytes(2**26))), **open_),
        "many_streams.mov": File(lambda path: many_streams(path, 1000), "allocate|GiB"),
        "many_streams.mkv": File(lambda path: many_streams(path, 1000), **open_),
        "loud.wav": File(lambda path: wav(path, 64, 768_000, 9, 32), "bytes", **sound),
        "many_channels.wav": File(lambda path: wav(path, 512, 48_000, 5), "at most 64", **sound),
        "more_channels.wav": File(lambda path: wav(path, 65535, 8000, 5), "neither", **sound),
        "no_channels.wav": File(lambda path: wav(path, 0, 8000, 5), "neither", **sound),
        "no_rate.wav": File(lambda path: wav(path, 1, 0, 5), "neither|Invalid", **sound),
        "fast.wav": File(lambda path: wav(path, 1, 2**32 - 1, 0.1), "Invalid|rate", **sound),
        "elsewhere.mov": File(lambda path: movie(path, 99, data=alias(secret)), "cut short"),
    }
