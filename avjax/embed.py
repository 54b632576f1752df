"""Extracts features of video or audio files: `python -m avjax.embed --run RUN IN --out OUT.npz`.

IN is one or more files or folders.  RUN is the folder of a run of avjax or of ported weights: clips
are sampled and preprocessed as in its evaluation, and its latest checkpoint computes the features.
RUN is only read.  Its config.json names the functions that build it: those of avjax and optax, and
of each --trust PACKAGE, are called, others are refused.

OUT is an .npz file or, with pyarrow, a .parquet file.  It has one row per file, the mean over the
file's clips; with --per_clip, one row per clip.  Unreadable files are listed in OUT and in
<OUT>.unreadable.csv.

    path                  as given; relative to IN      clip   number of the clip (--per_clip)
                          if IN is a single folder
    <modality>_features   [N, H]                        clips  number of clips (otherwise)
    <modality>_embedding  [N, D], of unit length        has_audio  False: silence stands in
    logits                [N, C], of a classifier
"""

import argparse
import os

from avjax.config import app, trust
from avjax.config.program import program_name
from avjax.runtime import csv_file, preemption, workdir as workdirs
from avjax.runtime.filenames import OPEN_ARGS


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
    p.add_argument("--trust", metavar="PACKAGE", action="append", default=[], help=trust.HELP)
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


def run(args: argparse.Namespace) -> None:
    """Extracts the features, writes them, and prints a one-line summary."""
    from avjax.inference import writers

    write = writers.make_writer(args.out)  # A wrong name must not fail after hours of work.
    workdirs.check_is_run(args.run)
    if missing := [path for path in args.paths if not os.path.exists(path)]:
        raise FileNotFoundError(f"no such file or folder: {', '.join(missing)}")
    app.start_jax_alone("avjax.embed")
    import avjax

    options = ("modality", "per_clip", "num_clips", "num_frames", "batch_size", "workers")
    columns, unreadable = avjax.load(args.run, args.trust).embed_files(
        args.paths, **{name: getattr(args, name) for name in options}
    )
    write(args.out, columns, unreadable)
    if unreadable:
        with open(f"{args.out}.unreadable.csv", "w", **OPEN_ARGS) as file:
            csv_file.write_rows(file, [("path", "reason"), *unreadable])
    paths = columns["path"]
    text = f"{args.out}: {len(paths)} rows of {len({*paths})} files; {len(unreadable)} unreadable"
    silent = {path for path, has_audio in zip(paths, columns.get("has_audio", ())) if not has_audio}
    print(f"{text}; {len(silent)} without audio (has_audio is False)" if silent else text)


if __name__ == "__main__":
    main()
