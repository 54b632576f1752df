"""A media file -> segments of a few seconds: frames, PCM audio, and the times of both."""

import base64
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from avjax.data.media import sequential, video as media_video
from avjax.data.media.media_file import Info
from avjax.data.prepare import content_checks, file_checks
from avjax.data.prepare.file_checks import PacketScan

MAX_SECONDS = 48 * 3600  # Seconds; time stamps may say anything.
RESAMPLER_TAIL_SECONDS = 0.01  # Seconds that resampling adds after the end of the audio.
END_TOLERANCE_SECONDS = 0.5  # Seconds before the end in which damaged frames are no finding.
THUMBNAIL_SIZE = 96  # Pixels of the longer side of the video that the report shows.


class PrepareSettings(NamedTuple):
    """The settings of a prepared data set, the same for all of its shards."""

    short_side: int | None  # Pixels of the shorter side; None: as in the file.
    fps: float  # Frames kept a second; 0: all.
    sample_rate: int  # Hz
    channels: int
    jpeg_quality: int  # Of the JPEGs, 1 to 100; 0: PNG, which loses nothing.
    segment_seconds: float  # Seconds of an example.
    require: tuple[str, ...]  # What a file must have: "video", "audio".
    min_seconds: float  # Seconds that a file must last.


def stream_ends(record: dict, info: Info, scan: PacketScan) -> tuple[float | None, float | None]:
    """Returns the true ends of a record's video and audio.

    That is the end of the data, whatever the header says, or of the record's part of the file.

    Args:
      record: of a Source.
      info: times of the record.
      scan: of the file.

    Returns:
      (video, audio) in seconds; None for a missing stream.
    """
    audio_end = None if scan.audio_end is None else scan.audio_end + RESAMPLER_TAIL_SECONDS

    def true_end(header_end, data_end):
        if header_end is None:  # None in the file, or in the record's part of it.
            return None
        return data_end if record.get("end") is None else min(data_end, header_end)

    return true_end(info.video_end, scan.video_end), true_end(info.audio_end, audio_end)


def segment_boundaries(
    path: str, info: Info, ends: tuple[float | None, float | None], segment_seconds: float
) -> list[float]:
    """Returns the times at which a record's segments of equal length begin, and its end.

    Args:
      path: of the file, for errors.
      info: times of the record.
      ends: as of `stream_ends`.
      segment_seconds: length of a segment, approximately.

    Raises:
      MediaError: the record is longer than MAX_SECONDS.
    """
    starts = [t for t in (info.video_start, info.audio_start) if t is not None]
    known = [t for t in (*ends, info.video_end, info.audio_end) if t is not None]
    low, high = min(starts), max(min(starts), *known)
    if high - low > MAX_SECONDS:
        raise media_video.MediaError(path, f"lasts {high - low:.0f} s; at most {MAX_SECONDS}")
    return np.linspace(low, high, max(1, round((high - low) / segment_seconds)) + 1).tolist()


def iter_segments(
    path: str,
    info: Info,
    ends: tuple[float | None, float | None],
    boundaries: list[float],
    settings: PrepareSettings,
    notes: dict,
) -> Iterator[dict]:
    """Yields {"video", "video_times", "audio", "audio_first"}, one segment at a time.

    Args:
      path: of the file.
      info: a media_video.Info of the record.
      ends: as of `stream_ends`.
      boundaries: as of `segment_boundaries`.
      settings: a PrepareSettings.
      notes: a dictionary that collects what decoding shows: "findings", "peak" of the audio,
        "shape" of the frames, "thumbnail", and "num_dropped", the number of frames that
        settings.fps leaves out.
    """
    # Opened twice, since video and audio are read side by side, each at its own place.
    contents = content_checks.Contents()
    with media_video.open_media(path) as video_media, media_video.open_media(path) as audio_media:
        groups = itertools.repeat([])
        if info.video_start is not None:
            frames = _encoded_frames(
                video_media, info.video_start, ends[0], settings, notes, contents
            )
            groups = _group_by_segment(frames, boundaries, sequential.time_tolerance(video_media))
        for (low, high), frames in zip(itertools.pairwise(boundaries), groups):
            times = [time for time, _ in frames]
            video = {"video": [jpeg for _, jpeg in frames], "video_times": times}
            span = info.audio_start, ends[1]
            yield video | _segment_audio(audio_media, span, low, high, settings, notes, contents)
    notes["findings"] += content_checks.findings(contents)


def _group_by_segment(frames, boundaries, tolerance):
    """The frames of each segment in a list; it begins with the frame shown at its start."""
    next_frame, previous = next(frames, None), None
    for low, high in itertools.pairwise(boundaries):
        segment = []
        while next_frame and (next_frame[0] < high or high == boundaries[-1]):
            segment.append(next_frame)
            next_frame = next(frames, None)
        if previous and (not segment or segment[0][0] > low + tolerance):
            segment.insert(0, previous)
        previous = segment[-1] if segment else None
        yield segment


def _encoded_frames(media, low, high, settings, notes, contents):
    """Yields (time, frame as JPEG or PNG) of a record."""
    shape = None
    for time, frame, num_dropped in sequential.iter_frames(media, low, high, settings.fps):
        notes["num_dropped"] += num_dropped
        image = media_video.to_rgb(media, [frame], settings.short_side)[0]
        if shape is None:
            shape = image.shape
            notes["shape"], notes["thumbnail"] = list(shape[:2]), _thumbnail(image)
            notes["findings"] += ["rotated"] if file_checks.is_rotated(frame) else []
        if image.shape != shape:  # Some files change their frame size.
            image = cv2.resize(image, shape[1::-1], interpolation=cv2.INTER_AREA)
        content_checks.add_frame(contents, image)
        # A recording that was cut off may end amid a frame.
        is_inside = time < high - END_TOLERANCE_SECONDS
        if frame.is_corrupt and is_inside and "corrupt" not in notes["findings"]:
            notes["findings"].append("corrupt")
        yield time, _encode_image(image, settings.jpeg_quality)


def _segment_audio(media, span, low, high, settings, notes, contents):
    """The samples from `low` to `high` seconds, and the number of the first on the file's clock."""
    sample_rate, channels = settings.sample_rate, settings.channels
    first = round(low * sample_rate)
    empty = np.zeros((0,) if channels == 1 else (0, channels), np.int16)
    if span[0] is None:
        return {"audio": empty, "audio_first": first}
    first_sample = max(first, round(span[0] * sample_rate))
    end = min(round(high * sample_rate), round(span[1] * sample_rate))
    if end <= first_sample:
        return {"audio": empty, "audio_first": first}
    waveform = media_video.read_audio(
        media, first_sample / sample_rate, end - first_sample, sample_rate, channels
    )
    notes["peak"] = max(notes["peak"], int(np.abs(waveform.astype(np.int32)).max(initial=0)))
    content_checks.add_audio(contents, waveform, sample_rate)
    if media.audio.channels > 1:
        seconds = (end - first_sample) / sample_rate
        stereo = media_video.read_audio(
            media,
            first_sample / sample_rate,
            round(seconds * content_checks.STEREO_SAMPLE_RATE),
            content_checks.STEREO_SAMPLE_RATE,
            2,
        )
        content_checks.add_stereo(contents, stereo)
    return {"audio": waveform, "audio_first": first_sample}


def _encode_image(image, jpeg_quality):
    ok, data = cv2.imencode(
        ".jpg" if jpeg_quality else ".png",
        cv2.cvtColor(image, cv2.COLOR_RGB2BGR),
        [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality] if jpeg_quality else [],
    )
    if not ok:
        raise RuntimeError(f"a frame of {image.shape} could not be encoded")
    return data.tobytes()


def _thumbnail(image):
    """A small JPEG of an image, in base64."""
    scale = THUMBNAIL_SIZE / max(image.shape[:2])
    size = [max(1, round(n * scale)) for n in image.shape[1::-1]]
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return base64.b64encode(_encode_image(small, 80)).decode()
