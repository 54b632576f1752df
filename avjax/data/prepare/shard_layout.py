"""A prepared data set as a whole: which records go to which shard, and its metadata."""

import contextlib
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from avjax.data.prepare import file_checks, folder_lock, shard_writer
from avjax.data.prepare.segments import PrepareSettings
from avjax.data.prepare.shard_writer import Shard
from avjax.data.source import Source, unique_notes
from avjax.runtime.atomic import write_atomic
from avjax.runtime.regular_files import read_text

VERSION = 3  # Raise it with any change to what shards hold.
SUFFIX = "array_record"
TEMPORARY_FILE = re.compile(r".+\.([0-9a-f]{8}|\d+)\.part")
OMITTED_KEYS = dict(thumbnail=None, state=None)  # Not needed by readers of a record.
MAX_RECORDS_PER_SHARD = 64  # What a stopped run repeats, at most, per worker.


def plan_shards(out: str, name: str, root: str, sources: Mapping[str, Source]) -> tuple[Shard, ...]:
    """Returns the shards of a data set, in order; they depend on nothing else.

    A small set is split into smaller shards, so that several workers have something to do.

    Args:
      out: the folder to write.
      name: of the data set, see `tfds_name`.
      root: the folder of the media files.
      sources: {split: Source}.
    """
    shards = []
    for split, source in sources.items():
        size = min(MAX_RECORDS_PER_SHARD, max(4, -(-len(source) // 16)))
        count = -(-len(source) // size)
        for number in range(count):
            file = f"{name}-{split}.{SUFFIX}-{number:05d}-of-{count:05d}"
            rows = range(number * size, min(len(source), (number + 1) * size))
            records = tuple((row, source[row]) for row in rows)
            shards.append(Shard(os.path.join(out, file), root, split, number, records))
    return tuple(shards)


@contextlib.contextmanager
def open_output(out: str, source: str) -> Iterator[None]:
    """Makes the folder `out` and holds its lock while the block runs.

    Args:
      out: the folder to write.
      source: IN, a folder or a file.

    Raises:
      ValueError: `out` cannot be used, or another process writes it.
    """
    real, root = os.path.realpath(out), os.path.realpath(source)
    if os.path.exists(real) and not os.path.isdir(real):
        raise ValueError(f"OUT {out} is a file: name a folder")
    if os.path.isdir(root) and os.path.commonpath([real, root]) == root:
        raise ValueError(f"OUT {out} lies in IN {source}: name a folder outside of it")
    if real != real.encode("utf-8", "replace").decode():
        raise ValueError(f"OUT {ascii(out)}: ArrayRecord files need a path in UTF-8; name another")
    with contextlib.ExitStack() as stack:
        try:
            os.makedirs(real, exist_ok=True)
            stack.enter_context(folder_lock.hold_lock(out))
        except OSError as error:
            raise ValueError(f"OUT {out} cannot be written: {error.strerror}") from error
        yield


def record_settings(out: str, settings: PrepareSettings, shards: Sequence[Shard]) -> None:
    """Records the settings and files of a prepared data set, and removes half-written files.

    The caller holds the lock of `out`, so half-written files belong to no process.

    Args:
      out: the folder to write.
      settings: of the data set.
      shards: as of `plan_shards`.

    Raises:
      ValueError: `out` was started with other settings or files.
    """
    digest = hashlib.blake2b(digest_size=16)
    for shard in shards:
        digest.update(repr((os.path.basename(shard.path), shard.rows)).encode("utf-8", "replace"))
    current = dict(settings._asdict(), version=VERSION, files=digest.hexdigest())
    current = json.loads(json.dumps(current))
    path = os.path.join(out, "prepare_settings.json")
    if os.path.exists(path):
        old = json.loads(read_text(path))
        changed_keys = sorted(
            key for key in current.keys() | old.keys() if current.get(key) != old.get(key)
        )
        if changed_keys:
            changes = [
                f"{key}: {old.get(key)} then, {current.get(key)} now" for key in changed_keys
            ]
            if "files" in changed_keys:  # Of which only a hash is known.
                changes[changed_keys.index("files")] = (
                    "files were added, removed or put into other splits"
                )
            raise ValueError(
                f"{out} was started with other "
                f"{'settings' if changed_keys != ['files'] else 'files'} "
                f"({', '.join(changes)}): use another folder, or delete this one"
            )
    else:
        write_atomic(path, json.dumps(current, indent=2), sync=True)
    for name in os.listdir(out):  # What a killed run left half-written.
        if TEMPORARY_FILE.fullmatch(name):
            os.remove(os.path.join(out, name))


def load_rows(shards: Sequence[Shard]) -> list[dict]:
    """Returns what is known of every record, in order; copies of other files are marked.

    A copy of a file of an evaluation split is left out of all other splits, so that scores are
    valid and test sets stay those of the official lists.  The last such split, "test" of "val" and
    "test", keeps its files.  Copies within a split, and among splits for training, remain.

    Args:
      shards: as of `plan_shards`, all of them written.
    """
    rows, split_of, first = [], {}, {}
    for shard in shards:
        with open(f"{shard.path}.jsonl", encoding="utf-8") as lines:
            rows += [json.loads(line) for line in lines]
    with_hash = [row for row in rows if row.get("content_hash")]
    for row in reversed(with_hash):
        if "train" not in row["split"]:
            split_of.setdefault(row["content_hash"], row["split"])
    files = {(row["content_hash"], row["split"]): row["path"] for row in reversed(with_hash)}
    for row in with_hash:
        content_hash, split = row["content_hash"], split_of.get(row["content_hash"], row["split"])
        copy = files[content_hash, split] if split != row["split"] else None
        if copy not in (None, row["path"]):  # Parts of one file are no copies.
            _add_finding(
                row, "duplicate across splits", f"the same packets as {copy} of split {split}"
            )
        elif (earlier := first.setdefault(content_hash, row["path"])) != row["path"]:
            _add_finding(row, "duplicate", f"the same packets as {earlier}")
    return rows


def _add_finding(row, finding, reason):
    row["findings"] = [name for name in row["findings"] if name != "good"] + [finding]
    row["reason"] = row["reason"] or reason


def write_metadata(
    out: str,
    name: str,
    root: str,
    sources: Mapping[str, Source],
    settings: PrepareSettings,
    shards: Sequence[Shard],
    rows: Sequence[dict],
) -> None:
    """Writes TFDS's metadata, a list of records per split, and prepared.json.

    Args:
      out, name, root, sources: as in `plan_shards`.
      settings: of the data set.
      shards: as of `plan_shards`.
      rows: as of `load_rows`.
    """
    splits = {}
    for split, source in sources.items():
        split_shards = [shard for shard in shards if shard.split == split]
        usable_rows = [row for row in rows if row["split"] == split and row["segments"]]
        usable_rows = [
            row for row in usable_rows if file_checks.is_usable(row["findings"], settings.require)
        ]
        lines = "".join(
            json.dumps(row | OMITTED_KEYS, sort_keys=True) + "\n" for row in usable_rows
        )
        write_atomic(os.path.join(out, f"records-{split}.jsonl"), lines, sync=True)
        template = f"{name}-{split}.{SUFFIX}-{{:05d}}-of-{len(split_shards):05d}"
        splits[split] = dict(
            records=f"records-{split}.jsonl", template=template, num_kept=len(usable_rows),
            num_found=len(source), num_listed=source.num_listed,
        )  # fmt: skip
    classes = next(iter(sources.values())).classes
    _write_tfds_metadata(out, name, settings, classes, shards, rows)
    notes = unique_notes(sources.values())
    metadata = dict(
        version=VERSION, name=name, root=root, classes=classes, splits=splits, notes=notes
    )
    metadata |= settings._asdict()
    write_atomic(os.path.join(out, "prepared.json"), json.dumps(metadata, indent=2), sync=True)


def remove_metadata(out: str) -> None:
    """Marks `out` as incomplete, before any of its shards is replaced."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(os.path.join(out, "prepared.json"))


def _write_tfds_metadata(out, name, settings, classes, shards, rows):
    """dataset_info.json and features.json, as TFDS has them."""
    import tensorflow_datasets as tfds

    template = tfds.core.ShardedFileTemplate(
        data_dir=out,
        dataset_name=name,
        filetype_suffix=SUFFIX,
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    )
    num_segments = Counter()
    for row in rows:
        num_segments[row["split"], row["shard"]] += row["segments"]
    infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[
                num_segments[split, shard.number] for shard in shards if shard.split == split
            ],
            num_bytes=sum(os.path.getsize(s.path) for s in shards if s.split == split),
            filename_template=template.replace(split=split),
        )
        for split in dict.fromkeys(shard.split for shard in shards)
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=out,
        features=shard_writer.tfds_features(settings, classes),
        split_infos=infos,
        version="1.0.0",
        description=f"{name}, prepared by avjax: {settings}",
        check_data=False,  # Which would want TensorFlow.
    )


def tfds_name(text: str) -> str:
    """Returns a valid TFDS name: a letter, then letters, digits and "_", all lower case."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return name if re.match("[a-z]", name) else f"avjax_{name}".strip("_")
