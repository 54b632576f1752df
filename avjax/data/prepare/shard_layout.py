"""A prepared data set as a whole: which records go to which shard, and what ends it."""

import contextlib
import csv
import hashlib
import json
import os
import re
from collections import Counter

from avjax.data.prepare import file_checks, folder_lock, shard_writer
from avjax.data.prepare.shard_writer import Shard
from avjax.data.source import notes_of
from avjax.runtime.filenames import TEXT

VERSION = 2  # Raise it with any change to what shards hold.
SUFFIX = "array_record"
PART = re.compile(r".+\.([0-9a-f]{8}|\d+)\.part")
UNLISTED = dict(thumb=None, state=None)  # What readers of a record have no use for.
MOST = 64  # Records of a shard: what a stopped run does again, at most, for each worker.


def shards_of(out, name, root, sources):
    """The shards of {split: Source}, in order; they depend on nothing else.

    A small set is cut finer, so that several workers have something to do.
    """
    shards = []
    for split, source in sources.items():
        size = min(MOST, max(4, -(-len(source) // 16)))
        count = -(-len(source) // size)
        for number in range(count):
            file = f"{name}-{split}.{SUFFIX}-{number:05d}-of-{count:05d}"
            rows = range(number * size, min(len(source), (number + 1) * size))
            records = tuple((row, source[row]) for row in rows)
            shards.append(Shard(os.path.join(out, file), root, split, number, records))
    return tuple(shards)


@contextlib.contextmanager
def opened(out, source):
    """Makes the folder `out` and holds its lock while the block runs.

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
            stack.enter_context(folder_lock.locked(out))
        except OSError as error:
            raise ValueError(f"OUT {out} cannot be written: {error.strerror}") from error
        yield


def claim(out, settings, shards):
    """Notes what `out` is made of; raises if it was begun with something else.

    The caller holds the lock of `out`, so half-written files belong to no process and are deleted.
    """
    digest = hashlib.blake2b(digest_size=16)
    for shard in shards:
        digest.update(repr((os.path.basename(shard.path), shard.rows)).encode("utf-8", "replace"))
    begun = dict(settings._asdict(), version=VERSION, files=digest.hexdigest())
    begun = json.loads(json.dumps(begun))
    path = os.path.join(out, "begun.json")
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            old = json.load(file)
        other = sorted(key for key in begun.keys() | old.keys() if begun.get(key) != old.get(key))
        if other:
            said = [f"{key}: {old.get(key)} then, {begun.get(key)} now" for key in other]
            if "files" in other:  # Of which only a hash is known.
                said[other.index("files")] = "files were added, removed or put into other splits"
            raise ValueError(
                f"{out} was begun with other {'settings' if other != ['files'] else 'files'} "
                f"({', '.join(said)}): use another folder, or delete this one"
            )
    else:
        shard_writer.appear(path, json.dumps(begun, indent=2).encode())
    for name in os.listdir(out):  # What a killed run left half-written.
        if PART.fullmatch(name):
            os.remove(os.path.join(out, name))


def rows_of(shards):
    """What is known of every record, in order; copies of other files are marked.

    A copy of a file of an evaluation split is left out of all other splits: scores then hold,
    and test sets stay those of the official lists.  The last such split, "test" of "val" and
    "test", keeps its files.  Copies within a split, and among splits for training, remain.
    """
    rows, kept, first = [], {}, {}
    for shard in shards:
        with open(f"{shard.path}.jsonl", encoding="utf-8") as lines:
            rows += [json.loads(line) for line in lines]
    hashed = [row for row in rows if row.get("content")]
    for row in reversed(hashed):
        if "train" not in row["split"]:
            kept.setdefault(row["content"], row["split"])
    files = {(row["content"], row["split"]): row["path"] for row in reversed(hashed)}
    for row in hashed:
        content, split = row["content"], kept.get(row["content"], row["split"])
        copy = files[content, split] if split != row["split"] else None
        if copy not in (None, row["path"]):  # Parts of one file are no copies.
            _mark(row, "duplicate across splits", f"the same packets as {copy} of split {split}")
        elif (earlier := first.setdefault(content, row["path"])) != row["path"]:
            _mark(row, "duplicate", f"the same packets as {earlier}")
    return rows


def _mark(row, finding, reason):
    row["found"] = [name for name in row["found"] if name != "good"] + [finding]
    row["reason"] = row["reason"] or reason


def finish(out, name, root, sources, settings, shards, rows):
    """Writes what readers look for: TFDS's metadata, a list of records a split, prepared.json."""
    splits = {}
    for split, source in sources.items():
        mine = [shard for shard in shards if shard.split == split]
        kept = [row for row in rows if row["split"] == split and row["pieces"]]
        kept = [row for row in kept if file_checks.usable(row["found"], settings.need)]
        lines = "".join(json.dumps(row | UNLISTED, sort_keys=True) + "\n" for row in kept)
        shard_writer.appear(os.path.join(out, f"records-{split}.jsonl"), lines.encode())
        template = f"{name}-{split}.{SUFFIX}-{{:05d}}-of-{len(mine):05d}"
        splits[split] = dict(
            records=f"records-{split}.jsonl", template=template, kept=len(kept),
            found=len(source), listed=source.listed,
        )  # fmt: skip
    classes = next(iter(sources.values())).classes
    _metadata(out, name, settings, classes, shards, rows)
    notes = notes_of(sources.values())
    told = dict(version=VERSION, name=name, root=root, classes=classes, splits=splits, notes=notes)
    told |= settings._asdict()
    shard_writer.appear(os.path.join(out, "prepared.json"), json.dumps(told, indent=2).encode())


def unfinish(out: str) -> None:
    """Makes `out` a data set that is not complete, before any of its shards is replaced."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(os.path.join(out, "prepared.json"))


def _metadata(out, name, settings, classes, shards, rows):
    """dataset_info.json and features.json, as TFDS has them."""
    import tensorflow_datasets as tfds

    template = tfds.core.ShardedFileTemplate(
        data_dir=out,
        dataset_name=name,
        filetype_suffix=SUFFIX,
        template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    )
    pieces = Counter()
    for row in rows:
        pieces[row["split"], row["shard"]] += row["pieces"]
    infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[pieces[split, shard.number] for shard in shards if shard.split == split],
            num_bytes=sum(os.path.getsize(s.path) for s in shards if s.split == split),
            filename_template=template.replace(split=split),
        )
        for split in dict.fromkeys(shard.split for shard in shards)
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=out,
        features=shard_writer.features_of(settings, classes),
        split_infos=infos,
        version="1.0.0",
        description=f"{name}, prepared by avjax: {settings}",
        check_data=False,  # Which would want TensorFlow.
    )


def write_lists(out, rows, need):
    """doctor.csv, all files and what was found; quarantine.csv, those not to be used."""
    with open(os.path.join(out, "doctor.csv"), "w", **TEXT) as file:
        table = csv.writer(file)
        table.writerow(
            ["path", "split", "usable", "found", "reason", "seconds", "fps", "width", "height",
             "rate", "sha256"]
        )  # fmt: skip
        for row in rows:
            info = row.get("info", {})
            usable = file_checks.usable(row["found"], need)
            table.writerow(
                [row["path"], row["split"], "yes" if usable else "no", ";".join(row["found"]),
                 row["reason"], f"{seconds(info):.3f}", info.get("fps"), info.get("width"),
                 info.get("height"), info.get("rate"), row.get("sha256")]
            )  # fmt: skip
    with open(os.path.join(out, "quarantine.csv"), "w", **TEXT) as file:
        table = csv.writer(file)
        table.writerow(["path", "reason"])
        for row in rows:
            if not file_checks.usable(row["found"], need):
                table.writerow([row["path"], row["reason"] or ", ".join(row["found"])])


def seconds(info):
    """How long a file is, from its Info as a dict."""
    ends = [info[k] for k in ("video_end", "audio_end") if info.get(k) is not None]
    starts = [info[k] for k in ("video_start", "audio_start") if info.get(k) is not None]
    return max(ends) - min(starts) if ends and starts else 0.0


def counts(rows):
    """{finding: how many files}, in the order of file_checks.FINDINGS."""
    counted = Counter(name for row in rows for name in row["found"])
    return {name: counted[name] for name in file_checks.FINDINGS if counted[name]}


def name_of(text: str) -> str:
    """A data set's name that TFDS takes: a letter, then letters, digits and "_", all lower case."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return name if re.match("[a-z]", name) else f"avjax_{name}".strip("_")
