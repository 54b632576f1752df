"""A media file -> pieces of about ten seconds: pictures, PCM, and the times that both have."""

import base64
import itertools
from typing import NamedTuple

import cv2
import numpy as np

from avjax.data.media import sequential, video as media_video
from avjax.data.prepare import content_checks, file_checks

LONGEST = 48 * 3600  # Seconds; time stamps may say anything.
RING = 0.01  # Seconds that a resampled sound goes on after its end.
AT_END = 0.5  # Seconds before the end in which damaged frames are no finding.
THUMB = 96  # Pixels of the longer side of the picture that the report shows.


class Settings(NamedTuple):
    """What a prepared data set is made like; one for all of its shards."""

    short_side: int | None  # Pixels of the shorter side; None: as in the file.
    fps: float  # Pictures kept a second; 0: all.
    rate: int  # Hz
    channels: int
    quality: int  # Of the JPEGs, 1 to 100; 0: PNG, which loses nothing.
    piece: float  # Seconds of a piece.
    need: tuple[str, ...]  # What a file must have: "video", "audio".
    shortest: float  # Seconds that a file must last.


def ends_of(record, info, seen):
    """Where picture and sound of a record end in truth, in seconds; None for one that is missing.

    That is the end of the data, whatever the header says, or of the record's part of the file.
    """
    heard = None if seen.audio_end is None else seen.audio_end + RING
    ends = []
    for promised, there in ((info.video_end, seen.video_end), (info.audio_end, heard)):
        if promised is None:  # None in the file, or in the record's part of it.
            ends.append(None)
        else:
            ends.append(there if record.get("end") is None else min(there, promised))
    return tuple(ends)


def cuts_of(path, info, ends, piece):
    """Seconds at which the pieces of a record begin, and its end: equal parts."""
    starts = [t for t in (info.video_start, info.audio_start) if t is not None]
    ends = [t for t in (*ends, info.video_end, info.audio_end) if t is not None]
    low, high = min(starts), max(min(starts), *ends)
    if high - low > LONGEST:
        raise media_video.MediaError(path, f"lasts {high - low:.0f} s; at most {LONGEST}")
    return np.linspace(low, high, max(1, round((high - low) / piece)) + 1).tolist()


def pieces(path, info, ends, cuts, settings, notes):
    """Yields {"video", "video_times", "audio", "audio_first"}, a piece at a time.

    ends: as ends_of has them.  What decoding tells of the file goes into `notes`: "found",
    "peak" of the sound, "shape" of the pictures, "thumb", "dropped", the number of frames that
    settings.fps leaves out.
    """
    # Opened twice, since picture and sound are read side by side, each at its own place.
    contents = content_checks.Contents()
    with media_video.open_media(path) as seen, media_video.open_media(path) as heard:
        groups = itertools.repeat([])
        if info.video_start is not None:
            shots = _shots(seen, info.video_start, ends[0], settings, notes, contents)
            groups = _grouped(shots, cuts, sequential.slack(seen))
        for (low, high), shots in zip(itertools.pairwise(cuts), groups):
            times = [time for time, _ in shots]
            picture = {"video": [jpeg for _, jpeg in shots], "video_times": times}
            span = info.audio_start, ends[1]
            yield picture | _heard(heard, span, low, high, settings, notes, contents)
    notes["found"] += content_checks.findings(contents)


def _grouped(shots, cuts, late):
    """The shots of each piece in a list; each begins with what is shown when the piece begins."""
    ahead, last = next(shots, None), None
    for low, high in itertools.pairwise(cuts):
        group = []
        while ahead and (ahead[0] < high or high == cuts[-1]):
            group.append(ahead)
            ahead = next(shots, None)
        if last and (not group or group[0][0] > low + late):
            group.insert(0, last)
        last = group[-1] if group else None
        yield group


def _shots(media, low, high, settings, notes, contents):
    """Yields (time, picture as JPEG or PNG) of a record."""
    shape = None
    for time, frame, dropped in sequential.pictures(media, low, high, settings.fps):
        notes["dropped"] += dropped
        image = media_video.pixels(media, [frame], settings.short_side)[0]
        if shape is None:
            shape = image.shape
            notes["shape"], notes["thumb"] = list(shape[:2]), _thumb(image)
            notes["found"] += ["rotated"] if file_checks.turned(frame) else []
        if image.shape != shape:  # Some files change size on the way.
            image = cv2.resize(image, shape[1::-1], interpolation=cv2.INTER_AREA)
        content_checks.see(contents, image)
        # A recording that was cut off may end amid a frame.
        inside = time < high - AT_END
        if frame.is_corrupt and inside and "corrupt" not in notes["found"]:
            notes["found"].append("corrupt")
        yield time, _packed(image, settings.quality)


def _heard(media, span, low, high, settings, notes, contents):
    """The samples from `low` to `high` seconds, and the number of the first on the file's clock."""
    rate, channels = settings.rate, settings.channels
    first = round(low * rate)
    empty = np.zeros((0,) if channels == 1 else (0, channels), np.int16)
    if span[0] is None:
        return {"audio": empty, "audio_first": first}
    begin = max(first, round(span[0] * rate))
    end = min(round(high * rate), round(span[1] * rate))
    if end <= begin:
        return {"audio": empty, "audio_first": first}
    wave = media_video.sound(media, begin / rate, end - begin, rate, channels)
    notes["peak"] = max(notes["peak"], int(np.abs(wave.astype(np.int32)).max(initial=0)))
    content_checks.hear(contents, wave, rate)
    if media.audio.channels > 1:
        seconds = (end - begin) / rate
        both = media_video.sound(
            media,
            begin / rate,
            round(seconds * content_checks.COMPARED),
            content_checks.COMPARED,
            2,
        )
        content_checks.compare(contents, both)
    return {"audio": wave, "audio_first": begin}


def _packed(image, quality):
    done, data = cv2.imencode(
        ".jpg" if quality else ".png",
        cv2.cvtColor(image, cv2.COLOR_RGB2BGR),
        [cv2.IMWRITE_JPEG_QUALITY, quality] if quality else [],
    )
    if not done:
        raise RuntimeError(f"a picture of {image.shape} could not be packed")
    return data.tobytes()


def _thumb(image):
    """A small JPEG of an image, in base64."""
    scale = THUMB / max(image.shape[:2])
    size = [max(1, round(n * scale)) for n in image.shape[1::-1]]
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return base64.b64encode(_packed(small, 80)).decode()
