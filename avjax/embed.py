"""Extracts features of video or audio files: `python -m avjax.embed --run RUN IN --out OUT.npz`.

IN is one or more files or folders.  RUN is the folder of a run of avjax or of ported weights: clips
are sampled and preprocessed as in its evaluation, and its latest checkpoint computes the features.
OUT is an .npz file or, with pyarrow, a .parquet file.  It has one row per file, the mean over the
file's clips; with --per_clip, one row per clip.  Unreadable files are listed in OUT and in
<OUT>.unreadable.csv.

    path                  as given; relative to IN      clip   number of the clip (--per_clip)
                          if IN is a single folder
    <modality>_features   [N, H]                        clips  number of clips (otherwise)
    <modality>_embedding  [N, D], of unit length        has_audio  False: silence stands in
"""

import argparse
import csv
import functools
import json

from avjax.config import app
from avjax.config.program import program_name
from avjax.runtime import preemption
from avjax.runtime.atomic import atomic_replace
from avjax.runtime.filenames import OPEN_ARGS, printable


def parser():
    p = argparse.ArgumentParser(
        prog=program_name("avjax.embed"),
        description=__doc__,
        epilog=app.CACHE_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("paths", metavar="IN", nargs="+", help="files, and folders of files")
    p.add_argument("--run", required=True, help="folder of the run")
    p.add_argument("--out", required=True, help=".npz or .parquet")
    p.add_argument("--per_clip", action="store_true", help="one row per clip")
    p.add_argument("--modality", choices=("video", "audio"), help="use this modality only")
    p.add_argument(
        "--num_clips", type=int, help="clips per file (default: as in the run's evaluation)"
    )
    p.add_argument(
        "--num_frames", type=int, help="frames per clip (default: as in the run's evaluation)"
    )
    p.add_argument("--batch_size", type=int, default=32, help="clips per batch (32)")
    p.add_argument("--workers", type=int, help="decoding processes (one per core)")
    return p


def main(argv=None):
    app.run(parser(), preemption.report_interruption(run, "nothing was written"), argv)


def run(args):
    """Extracts the features, writes them, and prints a one-line summary."""
    write = make_writer(args.out)  # First: a wrong file name must not fail after hours of work.
    from avjax.data import inputs
    from avjax.runtime import checkpoint

    config = checkpoint.read_config(args.run)
    source, named, only = inputs.from_paths(args.paths, args.modality)
    print("".join(f"{note}\n" for note in source.notes), end="")
    app.start_jax()
    changes = {"num_clips": args.num_clips, "num_frames": args.num_frames}
    data = dict(eval_preprocessing(config, only, changes), source=source, workers=args.workers)
    clips, faults = extract_features(config, args.run, data, args.batch_size)
    silent = num_without_audio(clips)
    columns = clips if args.per_clip else mean_over_clips(clips)
    paths = [named[record["path"]] for record in source.records]
    columns = {"path": [paths[i] for i in columns.pop("index")], **columns}
    broken = [(named.get(path, path), reason) for path, reason in faults.items()]
    write(args.out, columns, broken)
    if broken:
        with open(f"{args.out}.unreadable.csv", "w", **OPEN_ARGS) as file:
            csv.writer(file).writerows([("path", "reason"), *broken])
    done = len(set(columns["path"]))
    text = f"{args.out}: {len(columns['path'])} rows of {done} files; {len(broken)} unreadable"
    print(f"{text}; {silent} without audio (has_audio is False)" if silent else text)


def eval_preprocessing(config, modality, changes=None) -> dict:
    """Returns {"clip_sampler", "transforms"}: the preprocessing of the run's evaluation.

    Args:
      config: the config of the run.
      modality: "video" or "audio" to leave the other one out; None for both.
      changes: arguments of the clip sampler that replace those of the config, unless None.
    """
    from avjax.config.build import build
    from avjax.training import dry_run

    found = dict(dry_run.find_datasets(config.get("evals", {})))
    if not found:
        raise ValueError("the run's config has no evaluation, which defines the preprocessing")
    spec = next((s for key, s in found.items() if key.endswith("test")), [*found.values()][0])
    transforms = spec["transforms"]
    changes = {name: value for name, value in (changes or {}).items() if value is not None}
    if wrong := [f"{name}={value}" for name, value in changes.items() if value < 1]:
        raise ValueError(f"{wrong[0]}: use 1 or more")
    if "num_frames" in changes and not build(spec["clip_sampler"]).num_frames:
        raise ValueError("this model has no video encoder: drop --num_frames")
    sampler = build({**spec["clip_sampler"], **changes})
    if modality == "audio":
        if not sampler.num_samples:
            raise ValueError(
                "this model has no audio encoder: drop --modality audio, or give video files"
            )
        sampler = sampler._replace(num_frames=0)
        transforms = [
            t for t in transforms if not t["fn"].startswith("avjax.data.transforms.video")
        ]
    if modality == "video":
        if not sampler.num_frames:
            raise ValueError(
                "this model has no video encoder: drop --modality video, or give audio files"
            )
        sampler = sampler._replace(num_samples=0)
        transforms = [
            t for t in transforms if not t["fn"].startswith("avjax.data.transforms.audio")
        ]
    return dict(clip_sampler=sampler, transforms=build(list(transforms)))


def extract_features(config, folder, data, batch_size):
    """Extracts the features of all clips with the latest checkpoint in `folder`.

    Args:
      data: arguments of `pipeline.evaluate`, with a built view.
      batch_size: clips per batch, rounded down to a multiple of the clips per file.

    Returns:
      ({column: array [N, ...]}, {path: reason} of the unreadable files), N clips.
    """
    import jax
    import numpy as np

    from avjax.data import pipeline
    from avjax.runtime import checkpoint
    from avjax.runtime.progress import progress
    from avjax.training import train

    if not data["clip_sampler"].num_frames:
        config = {
            k: v for k, v in config.items() if k != "device_transform"
        }  # It transforms frames.
    method, saved, faults = train.build_method(config), checkpoint.restore_latest(folder), {}
    embed_fn = jax.jit(functools.partial(_embed, method, folder))
    each = max(1, batch_size // data["clip_sampler"].num_clips)
    size = each * data["clip_sampler"].num_clips
    batches = pipeline.eval_batches(**data, batch_size=size, on_error=faults.setdefault)
    rows, files = [], len(data["source"])
    for batch in progress(_count_files(batches, files, each), files, "embedding"):
        if batch is None:
            continue
        out = jax.device_get(embed_fn(saved["params"], saved["state"], batch))
        kept = np.asarray(batch["mask"])
        found = {"index": batch["index"], "clip": np.arange(size) % data["clip_sampler"].num_clips}
        if data["clip_sampler"].num_samples:
            found["has_audio"] = batch["has_audio"]
        for modality, arrays in out.items():
            if isinstance(arrays, dict):  # A "match" belongs to two modalities.
                found |= {f"{modality}_{kind}": value for kind, value in arrays.items()}
        rows.append({name: np.asarray(value)[kept] for name, value in found.items()})
    columns = {name: np.concatenate([r[name] for r in rows]) for name in rows[0]}
    if not len(columns["index"]):
        details = "; ".join(f"{path}: {reason}" for path, reason in [*faults.items()][:3])
        raise ValueError(f"none of {len(data['source'])} files could be read: {details}")
    return columns, faults


def _embed(method, folder, params, state, batch):
    """`method.embed`; ValueError if the run has no spectrogram statistics."""
    import flax.errors

    try:
        return method.embed(params, state, batch)
    except (flax.errors.ScopeCollectionNotFound, flax.errors.ScopeVariableNotFoundError) as error:
        raise ValueError(
            f"{folder} lacks the statistics of its spectrogram: port it with --audio_stats, or use "
            f"--modality video ({error})"
        ) from error


def _count_files(batches, files, each):
    """Yields the batches, of `each` files, and None per further file: progress counts files."""
    for batch in batches:
        yield batch
        yield from [None] * (min(each, files) - 1)
        files -= each


def num_without_audio(clips) -> int:
    """Returns the number of files without an audio stream; 0 if audio was not requested."""
    return len({*clips["index"][~clips["has_audio"]].tolist()}) if "has_audio" in clips else 0


def mean_over_clips(clips) -> dict:
    """Returns the columns averaged over the clips of each file; embeddings are l2-normalized."""
    import numpy as np

    index, which, counts = np.unique(clips["index"], return_inverse=True, return_counts=True)
    columns = {"index": index, "clips": counts}
    for name, value in clips.items():
        if value.ndim < 2:
            continue
        sums = np.zeros((len(index), value.shape[1]), np.float64)
        np.add.at(sums, which, value)
        mean = sums / counts[:, None]
        if name.endswith("_embedding"):
            mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
        columns[name] = mean.astype(np.float32)
    if "has_audio" in clips:
        columns["has_audio"] = clips["has_audio"][np.unique(clips["index"], return_index=True)[1]]
    return columns


def make_writer(out):
    """Returns the function (out, columns, unreadable) that writes the format of the suffix."""
    if str(out).endswith(".npz"):
        return _write_npz
    if str(out).endswith(".parquet"):
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise ImportError(
                f"{out} requires pyarrow: pip install pyarrow, or use .npz"
            ) from error
        return _write_parquet
    raise ValueError(f"--out {out}: use a name that ends in .npz or .parquet")


def _write_npz(out, columns, unreadable):
    import numpy as np

    with atomic_replace(out) as part, open(part, "wb") as file:
        listed = np.array(unreadable, str).reshape(-1, 2)
        np.savez(file, **{k: np.asarray(v) for k, v in columns.items()}, unreadable=listed)


def _write_parquet(out, columns, unreadable):
    import numpy as np
    import pyarrow
    import pyarrow.parquet

    def column(value):
        value = np.asarray(value)
        if value.ndim < 2:
            # Parquet text is UTF-8: other bytes in names are escaped.
            return pyarrow.array([*map(printable, value)] if value.dtype.kind == "U" else value)
        return pyarrow.FixedSizeListArray.from_arrays(value.ravel(), value.shape[1])

    table = pyarrow.table({name: column(value) for name, value in columns.items()})
    details = {"unreadable": json.dumps(unreadable)}
    with atomic_replace(out) as part:
        pyarrow.parquet.write_table(table.replace_schema_metadata(details), part)


if __name__ == "__main__":
    main()
