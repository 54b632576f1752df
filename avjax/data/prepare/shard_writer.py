"""Media files -> one shard of a TFDS data set: a pure function of its records and the settings.

So a shard that is there is finished, one that was interrupted is written again, and it does
not matter which process or machine writes it.  An example is a piece of a record, so that
neither writing nor reading ever holds a long video.
"""

import hashlib
import io
import json
import os
import secrets
import tempfile
from typing import NamedTuple

import numpy as np

from avjax.data import tf_example
from avjax.data.clip_sampling import within
from avjax.data.media import video as media_video
from avjax.data.prepare import file_checks
from avjax.data.prepare.segments import cuts_of, ends_of, pieces

SPOOL = 64 << 20  # Bytes of a record kept in memory until it is known to be sound.


class Shard(NamedTuple):
    """A shard to be written: where, which number of its split it is, its records and their rows."""

    path: str
    root: str
    split: str
    number: int
    rows: tuple[tuple[int, dict], ...]


def write(shards, settings, classes, number, barred, announce):
    """Writes shards[number] and, beside it, a line of JSON for each of its records.

    classes: None examines the files and writes no shard.
    barred: {path: reason} of files not to be touched.  announce(path) tells which is next.
    """
    shard, position, lines = shards[number], 0, []
    part = f"{shard.path}.{secrets.token_hex(4)}.part"
    writer = None if classes is None else _writer(part)
    features = None if classes is None else features_of(settings, classes)
    for row, record in shard.rows:
        path = record["path"]
        announce(path)
        state = state_of(path)  # Before it is read: a change on the way is then noticed.
        if path in barred:
            told = dict(found=["corrupt"], reason=barred[path])
        else:
            told = _examined(shard.root, record, row, settings, features, writer, announce)
        known = ("label", "labels", "start", "end", "group")
        told |= {name: record[name] for name in known if record.get(name) is not None}
        told |= dict(path=os.path.relpath(path, shard.root), split=shard.split)
        told |= dict(row=row, shard=shard.number, first=position)
        told |= dict(state=state, examined_only=writer is None)
        position += told.setdefault("pieces", 0)
        lines.append(json.dumps(told, sort_keys=True) + "\n")
    if writer is not None:
        _close(writer, part, shard.path)
    # Last: a shard is finished when its lines describe its files as they are.
    appear(f"{shard.path}.jsonl", "".join(lines).encode())


def finished(shard, classes):
    """Whether a shard is there, of the files as they are now.

    classes: None asks for the lines of JSON alone.
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
    return [row["state"] for row in rows] == [state_of(record["path"]) for _, record in shard.rows]


def state_of(path):
    """[size, time of the last change in ns] of a file; None where it cannot be read."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns] if os.access(path, os.R_OK) else None


def features_of(settings, classes):
    """The TFDS features of an example; pictures are JPEG or PNG, sound and times plain bytes."""
    import tensorflow_datasets as tfds

    names = [_line(name) for name in classes]
    shape = (None,) if settings.channels == 1 else (None, settings.channels)
    image = tfds.features.Image(
        shape=(None, None, 3), encoding_format="jpeg" if settings.quality else "png"
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
            "piece": np.int64,
            "pieces": np.int64,
        }
    )


def _line(name):
    """A class name for TFDS, which keeps UTF-8, one a line and without spaces around it."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if text == text.strip() else repr(text)


def _examined(root, record, row, settings, features, writer, announce):
    """What is found in a file; where it can be used, its pieces are written."""
    path = record["path"]
    try:
        with media_video.open_media(path) as media:
            seen = file_checks.survey(media)
        info = within(seen.info, record)
    except media_video.MediaError as error:
        return dict(found=[file_checks.refused(path, error)], reason=error.reason)
    ends = ends_of(record, info, seen)
    told = dict(info=info._asdict(), content=seen.content, sha256=_sha256(path), video_end=ends[0])
    notes = dict(found=file_checks.findings(seen, info, settings.shortest), peak=0, dropped=0)
    told |= dict(channels=settings.channels, slack=seen.slack)
    known = dict(label=record.get("label", -1), row=row, sha256=told["sha256"])
    known |= dict(path=os.fsencode(os.path.relpath(path, root)))  # Names may be any bytes.
    with tempfile.SpooledTemporaryFile(SPOOL) as spool:
        sizes, reason = [], ""
        try:
            told["cuts"] = cuts = cuts_of(path, info, ends, settings.piece)
            for number, piece in enumerate(pieces(path, info, ends, cuts, settings, notes)):
                announce(path)  # A long video is at work, not hung.
                if features is not None:
                    piece["video"] = [io.BytesIO(jpeg) for jpeg in piece["video"]]
                    fields = piece | known | dict(piece=number, pieces=len(cuts) - 1)
                    data = features.serialize_example(fields)
                    sizes.append(spool.write(tf_example.ordered(data)))
        except media_video.MediaError as error:
            notes["found"].append("corrupt")
            reason = error.reason
        found = notes.pop("found")
        if info.audio_start is not None and not notes["peak"] and "corrupt" not in found:
            found.append("silent")
        if writer is not None and file_checks.usable(found, settings.need):
            spool.seek(0)
            for size in sizes:
                writer.write(spool.read(size))
            told["pieces"] = len(sizes)
    if not found:
        notes.pop("thumb", None)  # Kept for the report, of those that it shows.
    return told | notes | dict(found=found or ["good"], reason=reason)


def _writer(path):
    from array_record.python import array_record_module

    # Not compressed, since JPEG is; one example a group, for random access.
    return array_record_module.ArrayRecordWriter(path, "group_size:1,uncompressed")


def _close(writer, part, path):
    """Ends a shard, which appears under its name; OSError where it cannot be written."""
    try:
        writer.close()
    except RuntimeError as error:
        os.remove(part)
        reason = str(error).split(";")[0]
        raise OSError(f"{path} cannot be written: {reason}; the same command resumes") from error
    with open(part, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def appear(path, data):
    """The file appears under its name only when it is whole."""
    part = f"{path}.{secrets.token_hex(4)}.part"
    with open(part, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
