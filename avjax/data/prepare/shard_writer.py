"""Media files -> one shard of a TFDS data set: a pure function of its records and the settings.

So an existing shard is finished, an interrupted one is written again, and it does not matter which
process or machine writes it.  An example is a segment of a record, so that neither writing nor
reading ever holds a long video.
"""

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from avjax.data import tf_example
from avjax.data.clip_times import restrict_to_record
from avjax.data.media import video as media_video
from avjax.data.prepare import file_checks
from avjax.data.prepare.segments import (
    PrepareSettings,
    iter_segments,
    segment_boundaries,
    stream_ends,
)
from avjax.runtime.atomic import atomic_replace, write_atomic

SPOOL_BYTES = 64 << 20  # Bytes of a record kept in memory until it is known to be sound.


class Shard(NamedTuple):
    """A shard to write: its path, its number in its split, its records and their rows."""

    path: str
    root: str
    split: str
    number: int
    rows: tuple[tuple[int, dict], ...]


def write_shard(
    shards: Sequence[Shard],
    settings: PrepareSettings,
    classes: Sequence[str] | None,
    number: int,
    blocked: Mapping[str, str],
    heartbeat: Callable[[str], None],
) -> None:
    """Writes shards[number] and, beside it, a line of JSON for each of its records.

    Args:
      shards: as of avjax.data.prepare.shard_layout.plan_shards.
      settings: a PrepareSettings.
      classes: names of the classes; None examines the files and writes no shard.
      number: of the shard.
      blocked: {path: reason} of files that must not be opened.
      heartbeat: called with the path of the next file.
    """
    shard = shards[number]
    if classes is None:
        lines = _process_records(shard, settings, None, None, blocked, heartbeat)
    else:
        features = tfds_features(settings, classes)
        with atomic_replace(shard.path, sync=True) as part:
            writer = _open_writer(part)
            lines = _process_records(shard, settings, features, writer, blocked, heartbeat)
            _close_writer(writer, shard.path)
    # Last: a shard is finished when its lines describe its files as they are.
    write_atomic(f"{shard.path}.jsonl", "".join(lines), sync=True)


def _process_records(shard, settings, features, writer, blocked, heartbeat):
    """Writes the usable records of a shard; a line of JSON for each record."""
    first_example, lines = 0, []
    for row, record in shard.rows:
        path = record["path"]
        heartbeat(path)
        state = file_state(path)  # Before it is read: a change on the way is then noticed.
        if path in blocked:
            result: dict[str, Any] = dict(findings=["corrupt"], reason=blocked[path])
        else:
            result = _process_record(shard.root, record, row, settings, features, writer, heartbeat)
        copied_keys = ("label", "labels", "start", "end", "group")
        result |= {name: record[name] for name in copied_keys if record.get(name) is not None}
        result |= dict(path=os.path.relpath(path, shard.root), split=shard.split)
        result |= dict(row=row, shard=shard.number, first=first_example)
        result |= dict(state=state, examined_only=writer is None)
        first_example += result.setdefault("segments", 0)
        lines.append(json.dumps(result, sort_keys=True) + "\n")
    return lines


def is_finished(shard: Shard, classes: Sequence[str] | None) -> bool:
    """Returns whether a shard exists, made of the files as they are now.

    Args:
      shard: a Shard.
      classes: None only requires the lines of JSON.
    """
    try:
        with open(f"{shard.path}.jsonl", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
    except FileNotFoundError:
        return False
    if classes is not None and not os.path.exists(shard.path):
        return False
    if classes is not None and any(row["examined_only"] for row in rows):
        return False
    return [row["state"] for row in rows] == [
        file_state(record["path"]) for _, record in shard.rows
    ]


def file_state(path: str) -> list[int] | None:
    """Returns [size, modification time in ns] of a file; None if it cannot be read."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns] if os.access(path, os.R_OK) else None


def tfds_features(settings: PrepareSettings, classes: Sequence[str]) -> Any:
    """Returns the TFDS features of an example; frames are JPEG or PNG, audio and times bytes."""
    import tensorflow_datasets as tfds

    names = [_class_name(name) for name in classes]
    shape = (None,) if settings.channels == 1 else (None, settings.channels)
    image = tfds.features.Image(
        shape=(None, None, 3), encoding_format="jpeg" if settings.jpeg_quality else "png"
    )
    times = tfds.features.Tensor(shape=(None,), dtype=np.float64, encoding="bytes")
    return tfds.features.FeaturesDict(
        {
            "video": tfds.features.Sequence(image),
            "video_times": times,
            "audio": tfds.features.Tensor(shape=shape, dtype=np.int16, encoding="bytes"),
            "audio_first": np.int64,
            "label": tfds.features.ClassLabel(names=names) if classes else np.int64,
            "path": tfds.features.Text(),
            "sha256": tfds.features.Text(),
            "row": np.int64,
            "segment": np.int64,
            "segments": np.int64,
        }
    )


def _class_name(name):
    """A class name for TFDS, which stores UTF-8, one per line and without spaces around it."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if text == text.strip() else repr(text)


def _process_record(root, record, row, settings, features, writer, heartbeat):
    """The findings of a file; if it is usable, its segments are written."""
    path = record["path"]
    try:
        with media_video.open_media(path) as media:
            scan = file_checks.scan_packets(media)
        info = restrict_to_record(scan.info, record)
    except media_video.MediaError as error:
        return dict(findings=[file_checks.classify_open_error(path, error)], reason=error.reason)
    data_ends = stream_ends(record, info, scan)
    result: dict[str, Any] = dict(
        info=info._asdict(),
        content_hash=scan.content_hash,
        sha256=_sha256(path),
        video_end=data_ends[0],
    )
    notes: dict[str, Any] = dict(
        findings=file_checks.findings(scan, info, settings.min_seconds), peak=0, num_dropped=0
    )
    result |= dict(channels=settings.channels, time_tolerance=scan.time_tolerance)
    record_fields = dict(label=record.get("label", -1), row=row, sha256=result["sha256"])
    record_fields |= dict(path=os.fsencode(os.path.relpath(path, root)))  # Names may be any bytes.
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as spool:
        sizes, reason = [], ""
        try:
            result["boundaries"] = boundaries = segment_boundaries(
                path, info, data_ends, settings.segment_seconds
            )
            for number, segment in enumerate(
                iter_segments(path, info, data_ends, boundaries, settings, notes)
            ):
                heartbeat(path)  # A long video is at work, not hung.
                if features is not None:
                    segment["video"] = [io.BytesIO(jpeg) for jpeg in segment["video"]]
                    fields = (
                        segment | record_fields | dict(segment=number, segments=len(boundaries) - 1)
                    )
                    data = features.serialize_example(fields)
                    sizes.append(spool.write(tf_example.sort_features(data)))
        except media_video.MediaError as error:
            notes["findings"].append("corrupt")
            reason = error.reason
        findings = notes.pop("findings")
        if info.audio_start is not None and not notes["peak"] and "corrupt" not in findings:
            findings.append("silent")
        if writer is not None and file_checks.is_usable(findings, settings.require):
            spool.seek(0)
            for size in sizes:
                writer.write(spool.read(size))
            result["segments"] = len(sizes)
    if not findings:
        notes.pop("thumbnail", None)  # Kept for the report, of those that it shows.
    return result | notes | dict(findings=findings or ["good"], reason=reason)


def _open_writer(path):
    from array_record.python.array_record_module import ArrayRecordWriter

    # Not compressed, since JPEG is; one example a group, for random access.
    return ArrayRecordWriter(path, "group_size:1,uncompressed")


def _close_writer(writer, path):
    """Ends a shard; OSError if it cannot be written."""
    try:
        writer.close()
    except RuntimeError as error:
        reason = str(error).split(";")[0]
        raise OSError(f"{path} cannot be written: {reason}; the same command resumes") from error


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
