"""Features of videos or sounds: `python -m avjax.embed --run RUN IN [IN ...] --out OUT.npz`.

IN is a file or a folder.  RUN is the folder of a run of avjax or of ported weights; its config says
how clips are cut and prepared, and its newest checkpoint makes the features.  OUT is an .npz or,
with pyarrow, a .parquet.  A file has one row, the mean over its clips; with --per_clip, a row for
each clip.  Files that cannot be read are listed in OUT, and beside it in <OUT>.unreadable.csv.

    path                  as given; within a            clip   number of the clip (--per_clip)
                          single folder, without it
    <modality>_features   [N, H]                        clips  how many there are (without)
    <modality>_embedding  [N, D], of unit length        has_audio  False where silence stands in
"""

import argparse
import csv
import functools
import json

from avjax.config import app
from avjax.runtime import preemption
from avjax.runtime.atomic import replacing
from avjax.runtime.filenames import TEXT, printable


def parser():
    p = argparse.ArgumentParser(
        prog="python -m avjax.embed",
        description=__doc__,
        epilog=app.CACHE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("places", metavar="IN", nargs="+", help="files, and folders of files")
    p.add_argument("--run", required=True, help="folder of the run")
    p.add_argument("--out", required=True, help=".npz or .parquet")
    p.add_argument("--per_clip", action="store_true", help="a row for each clip")
    p.add_argument("--only", choices=("video", "audio"), help="leave the other modality out")
    p.add_argument("--num_clips", type=int, help="clips of a file (as the run's evaluation)")
    p.add_argument("--num_frames", type=int, help="frames of a clip (as the run's evaluation)")
    p.add_argument("--batch_size", type=int, default=32, help="clips at a time (32)")
    p.add_argument("--workers", type=int, help="processes that decode (one a core)")
    return p


def main(argv=None):
    app.run(parser(), preemption.in_one_line(run, "nothing was written"), argv)


def run(args):
    """Embeds as the arguments say, and says what became of it."""
    write = writer(args.out)  # First of all: hours of work are not to end in a wrong name.
    from avjax.data import inputs
    from avjax.runtime import checkpoint

    config = checkpoint.config_of(args.run)
    source, named, only = inputs.from_paths(args.places, args.only)
    print("".join(f"{note}\n" for note in source.notes), end="")
    app.start_jax()
    changes = {"num_clips": args.num_clips, "num_frames": args.num_frames}
    data = dict(looking(config, only, changes), source=source, workers=args.workers)
    clips, faults = embedded(config, args.run, data, args.batch_size)
    silent = without_sound(clips)
    columns = clips if args.per_clip else averaged(clips)
    paths = [named[record["path"]] for record in source.records]
    columns = {"path": [paths[i] for i in columns.pop("index")], **columns}
    broken = [(named.get(path, path), reason) for path, reason in faults.items()]
    write(args.out, columns, broken)
    if broken:
        with open(f"{args.out}.unreadable.csv", "w", **TEXT) as file:
            csv.writer(file).writerows([("path", "reason"), *broken])
    done = len(set(columns["path"]))
    said = f"{args.out}: {len(columns['path'])} rows of {done} files; {len(broken)} unreadable"
    print(f"{said}; {silent} without sound (has_audio is False)" if silent else said)


def looking(config, only, changes=None) -> dict:
    """{"clip_sampler", "transforms"}: how the run's evaluation looks at a file, of one modality or
    both.

    changes: arguments of the clip sampler in place of the config's, where they are not None.
    """
    from avjax.config.build import build
    from avjax.training import dry_run

    found = dict(dry_run.datasets(config.get("evals", {})))
    if not found:
        raise ValueError("the run's config has no evaluation, so no way to look at a file")
    spec = next((s for key, s in found.items() if key.endswith("test")), [*found.values()][0])
    transforms = spec["transforms"]
    changes = {name: value for name, value in (changes or {}).items() if value is not None}
    if wrong := [f"{name}={value}" for name, value in changes.items() if value < 1]:
        raise ValueError(f"{wrong[0]}: use 1 or more")
    if "num_frames" in changes and not build(spec["clip_sampler"]).num_frames:
        raise ValueError("this model has no video encoder: drop --num_frames")
    sampler = build({**spec["clip_sampler"], **changes})
    if only == "audio":
        if not sampler.num_samples:
            raise ValueError("this model has no audio encoder: drop --only audio, or give videos")
        sampler = sampler._replace(num_frames=0)
        transforms = [
            t for t in transforms if not t["fn"].startswith("avjax.data.transforms.video")
        ]
    if only == "video":
        if not sampler.num_frames:
            raise ValueError("this model has no video encoder: drop --only video, or give sounds")
        sampler = sampler._replace(num_samples=0)
        transforms = [
            t for t in transforms if not t["fn"].startswith("avjax.data.transforms.audio")
        ]
    return dict(clip_sampler=sampler, transforms=build(list(transforms)))


def embedded(config, folder, data, batch_size):
    """(columns of all clips, {path: reason} of files that could not be read)."""
    import jax
    import numpy as np

    from avjax.data import pipeline
    from avjax.runtime import checkpoint
    from avjax.runtime.progress import progress
    from avjax.training import train

    if not data["clip_sampler"].num_frames:
        config = {k: v for k, v in config.items() if k != "on_device"}  # It changes pictures.
    method, saved, faults = train.made(config), checkpoint.newest(folder), {}
    look = jax.jit(functools.partial(_embed, method, folder))
    each = max(1, batch_size // data["clip_sampler"].num_clips)
    size = each * data["clip_sampler"].num_clips
    batches = pipeline.eval_batches(**data, batch_size=size, on_error=faults.setdefault)
    rows, files = [], len(data["source"])
    for batch in progress(_by_file(batches, files, each), files, "embedding"):
        if batch is None:
            continue
        out = jax.device_get(look(saved["params"], saved["state"], batch))
        kept = np.asarray(batch["mask"])
        found = {"index": batch["index"], "clip": np.arange(size) % data["clip_sampler"].num_clips}
        if data["clip_sampler"].num_samples:
            found["has_audio"] = batch["has_audio"]
        for modality, arrays in out.items():
            if isinstance(arrays, dict):  # A "match" is of two modalities.
                found |= {f"{modality}_{kind}": value for kind, value in arrays.items()}
        rows.append({name: np.asarray(value)[kept] for name, value in found.items()})
    columns = {name: np.concatenate([r[name] for r in rows]) for name in rows[0]}
    if not len(columns["index"]):
        told = "; ".join(f"{path}: {reason}" for path, reason in [*faults.items()][:3])
        raise ValueError(f"none of {len(data['source'])} files could be read: {told}")
    return columns, faults


def _embed(method, folder, params, state, batch):
    """`method.embed`; ValueError where the run has never measured its sounds."""
    import flax.errors

    try:
        return method.embed(params, state, batch)
    except (flax.errors.ScopeCollectionNotFound, flax.errors.ScopeVariableNotFoundError) as error:
        raise ValueError(
            f"{folder} lacks the statistics of its spectrogram: port it with --audio_stats, or use "
            f"--only video ({error})"
        ) from error


def _by_file(batches, files, each):
    """Batches of `each` files, and None for each further file, so that a bar counts files."""
    for batch in batches:
        yield batch
        yield from [None] * (min(each, files) - 1)
        files -= each


def without_sound(clips) -> int:
    """How many files have none, where sound was asked for."""
    return len({*clips["index"][~clips["has_audio"]].tolist()}) if "has_audio" in clips else 0


def averaged(clips) -> dict:
    """The columns of the means over each file's clips; an embedding's at unit length."""
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


def writer(out):
    """The function (out, columns, unreadable) for the file's ending."""
    if str(out).endswith(".npz"):
        return _npz
    if str(out).endswith(".parquet"):
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise ImportError(f"{out} wants pyarrow: pip install pyarrow, or use .npz") from error
        return _parquet
    raise ValueError(f"--out {out}: use a name that ends in .npz or .parquet")


def _npz(out, columns, unreadable):
    import numpy as np

    with replacing(out) as part, open(part, "wb") as file:
        listed = np.array(unreadable, str).reshape(-1, 2)
        np.savez(file, **{k: np.asarray(v) for k, v in columns.items()}, unreadable=listed)


def _parquet(out, columns, unreadable):
    import numpy as np
    import pyarrow
    import pyarrow.parquet

    def column(value):
        value = np.asarray(value)
        if value.ndim < 2:
            # Names that are not UTF-8 are escaped: Parquet's text is UTF-8.
            return pyarrow.array([*map(printable, value)] if value.dtype.kind == "U" else value)
        return pyarrow.FixedSizeListArray.from_arrays(value.ravel(), value.shape[1])

    table = pyarrow.table({name: column(value) for name, value in columns.items()})
    told = {"unreadable": json.dumps(unreadable)}
    with replacing(out) as part:
        pyarrow.parquet.write_table(table.replace_schema_metadata(told), part)


if __name__ == "__main__":
    main()
