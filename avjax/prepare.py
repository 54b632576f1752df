"""Converts media files to ArrayRecord shards, for fast reading, and reports unusable files.

    python -m avjax.prepare IN OUT                  a folder of videos; its sub-folders are classes
    python -m avjax.prepare list.csv OUT            a CSV of `path` and `split`, paths beside it
    python -m avjax.prepare IN OUT --dataset ucf101 --set lists=DIR --set fold=1
    python -m avjax.prepare IN OUT --for_config configs/avts_kinetics.py       as this config asks
    python -m avjax.prepare IN OUT --check          examines the files, and writes the report only

OUT becomes a TensorFlow Datasets data set of ArrayRecord shards (JPEG frames, 16-bit sound, their
times), with doctor.html, doctor.csv and quarantine.csv.  Train on it with
`avjax.data.datasets.shards`; any TFDS reader reads it too.  The same command resumes where a
stopped one ended, and examines again the files that have changed since.  Clips may have any
sampling rate, any frame rate with --fps 0, else --fps or that divided by 2, 3, ..., and pictures up
to --short_side: 256 suits all recipes.  Large sets run on Apache Beam: --beam_runner DataflowRunner
--beam_options "...".
"""

import argparse
import functools
import inspect
import math
import os
import shlex
import sys

from avjax.config import app
from avjax.runtime import preemption


def parser():
    p = argparse.ArgumentParser(
        prog="python -m avjax.prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("source", metavar="IN", help="folder of the files, or a CSV file")
    p.add_argument("out", metavar="OUT", help="folder to write; what is there is not done again")
    p.add_argument("--dataset", default="folder", help="a file of avjax.data, or your dotted name")
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an argument of the data set, e.g. lists=DIR; may be repeated",
    )
    p.add_argument("--split", action="append", help="only this split; may be repeated (all)")
    p.add_argument("--name", help="the data set's name (that of IN)")
    p.add_argument("--check", action="store_true", help="examine the files, write no shards")
    p.add_argument(
        "--short_side",
        type=int,
        default=128,
        help="pixels of the shorter side of the frames; 0 as in the files (128)",
    )
    p.add_argument("--fps", type=float, default=0.0, help="frames kept per second; 0 for all (0)")
    p.add_argument("--rate", type=int, default=48_000, help="Hz of the sound (48000)")
    p.add_argument("--channels", type=int, default=1, choices=(1, 2), help="2 keeps stereo (1)")
    p.add_argument("--quality", type=int, default=90, help="of the JPEGs; 0 for PNG, lossless (90)")
    p.add_argument("--piece", type=float, default=10.0, help="seconds of an example (10)")
    p.add_argument("--shortest", type=float, default=0.5, help="seconds a file must last (0.5)")
    p.add_argument(
        "--need",
        default="both",
        choices=("both", "video", "audio"),
        help="what a file must have not to be quarantined (both)",
    )
    p.add_argument(
        "--for_config",
        metavar="FILE",
        help="takes short_side, fps, rate and channels from what this config asks for, e.g. "
        "configs/avts_kinetics.py; those given beside it count",
    )
    p.add_argument("--workers", type=int, help="processes (one a core)")
    p.add_argument("--deadline", type=float, default=60.0, help="seconds for ten of a video (60)")
    p.add_argument("--beam_runner", help="run on Apache Beam: DirectRunner, DataflowRunner, ...")
    p.add_argument("--beam_options", default="", help="options of Beam's pipeline, in quotes")
    return p  # fmt: skip


def main(argv=None):
    action = preemption.in_one_line(
        lambda args: run(suited(args, argv)), "the same command resumes"
    )
    sys.exit(app.run(parser(), action, argv) or 0)


def suited(args, argv):
    """The arguments; what --for_config asks for takes the place of those that are not given."""
    if not args.for_config:
        return args
    from avjax.training import data_requirements

    settings, p = data_requirements.of(args.for_config), parser()
    print(f"{args.for_config} asks for {data_requirements.flags(settings)}", flush=True)
    p.set_defaults(**settings)
    return p.parse_known_args(argv)[0]


def run(args):
    """Prepares as the arguments say; the program's exit status."""
    from avjax.data.prepare import shard_layout
    from avjax.data.source import notes_of

    settings = settings_of(args)
    check_input(args.source)
    root, sources = sources_of(args)
    for note in notes_of(sources.values()):  # Before hours of work, perhaps in vain.
        print(note, flush=True)
    with shard_layout.opened(args.out, args.source):
        rows = write(args, settings, root, sources)
    say(args, settings.need, rows, sources)
    return 0


def write(args, settings, root, sources):
    """Writes all that OUT lacks; what is known of every file."""
    from avjax.data.prepare import processes, shard_layout, shard_writer
    from avjax.report import dataset_page as page

    name = shard_layout.name_of(args.name or os.path.basename(root))
    classes = next(iter(sources.values())).classes
    shards = shard_layout.shards_of(args.out, name, root, sources)
    shard_layout.claim(args.out, settings, shards)
    kept = None if args.check else classes
    one = functools.partial(shard_writer.write, shards, settings, kept)
    todo = [i for i, shard in enumerate(shards) if not shard_writer.finished(shard, kept)]
    if len(todo) < len(shards):
        print(f"resumed: {len(shards) - len(todo)} of {len(shards)} shards are complete")
    if todo and not args.check:
        shard_layout.unfinish(args.out)
    if args.beam_runner:
        from avjax.data.prepare import beam

        beam.run(one, todo, args.beam_runner, args.beam_options, args.deadline)
    else:
        processes.run(one, {i: len(shards[i].rows) for i in todo}, args.workers, args.deadline)
    rows = shard_layout.rows_of(shards)
    shard_layout.write_lists(args.out, rows, settings.need)
    if not args.check:
        shard_layout.finish(args.out, name, root, sources, settings, shards, rows)
    page.write(args.out, name, rows, sources, settings.need)
    return rows


def settings_of(args):
    from avjax.data.prepare.segments import Settings

    wrong = [
        f"--{name} {getattr(args, name)}: use {what}"
        for name, right, what in (
            ("short_side", args.short_side in (0, *range(16, 4097)), "16 to 4096, or 0"),
            ("fps", 0 <= args.fps <= 1000, "up to 1000, or 0 for all"),
            ("rate", 1000 <= args.rate <= 192_000, "1000 to 192000"),
            ("quality", 0 <= args.quality <= 100, "0 to 100"),
            ("piece", 1 <= args.piece <= 3600, "1 to 3600"),
            ("shortest", 0 <= args.shortest < math.inf, "0 or more"),
            ("deadline", 0 < args.deadline < math.inf, "more than 0"),
            ("workers", args.workers is None or args.workers >= 1, "1 or more"),
        )
        if not right
    ]
    if wrong:
        raise ValueError("; ".join(wrong))
    need = ("video", "audio") if args.need == "both" else (args.need,)
    side = args.short_side or None
    return Settings(side, args.fps, args.rate, args.channels, args.quality, args.piece, need,
                    args.shortest)  # fmt: skip


def check_input(source):
    """Raises ValueError unless IN is a folder or may be a CSV file."""
    from avjax.data.files import listing

    if not os.path.exists(source):
        raise ValueError(f"IN {source} does not exist: name a folder of media files, or a CSV file")
    if os.path.isfile(source) and source.lower().endswith(listing.EITHER):
        raise ValueError(
            f"IN {source} is a media file: name the folder that holds it, or a CSV file"
        )


def sources_of(args):
    """(root, {split: Source}) of the data set that the arguments name."""
    from avjax.data import dataset_args
    from avjax.data.files import listing

    said = f"--dataset {args.dataset}"
    make, splits = dataset_args.maker(args.dataset, said)
    options = dataset_args.arguments(args.dataset, make, args.set)
    root = os.path.realpath(args.source)
    if os.path.isfile(root):
        if "splits" not in inspect.signature(make).parameters:
            raise ValueError(f"{said} reads a folder: IN must not be a file")
        root, options["splits"] = os.path.dirname(root), root
    elif args.dataset == "folder" and args.need == "audio":
        options.setdefault("suffixes", listing.EITHER)
    dataset_args.require(said, make, options)
    if "all" in (args.split or ()):
        raise ValueError(f"--split all: TFDS keeps that name to itself; use some of {splits}")
    return root, dataset_args.sources(make, splits, root, args.split, options)


def say(args, need, rows, sources):
    """The outcome, in a few lines, and what to run next."""
    from avjax.data.prepare import file_checks, shard_layout
    from avjax.data.source import found

    for split, source in sources.items():
        print(f"{split}: {found(source)}")
    for name, count in shard_layout.counts(rows).items():
        print(f"{count:8d}  {name}")
    left_out = [row["found"] for row in rows if not file_checks.usable(row["found"], need)]
    pictures = sum(file_checks.usable(found, ("video",)) for found in left_out)
    page = os.path.join(args.out, "doctor.html")
    print(f"{len(rows)} files, {len(left_out)} of them left out: open {page}")
    if pictures and "video" in need:
        print(f"without sound but else good: {pictures}; --need video keeps them")
    if args.check:
        table = shlex.quote(os.path.join(args.out, "quarantine.csv"))
        print(f"next: prepare without --check, or train with --config.data.quarantine={table}")
        return
    size = sum(entry.stat().st_size for entry in os.scandir(args.out)) / 1e6
    config = args.for_config or ("configs/avid_folder.py" if args.need == "both" else "CONFIG")
    print(f"{args.out} takes {size:,.0f} MB; next:")
    print(f"  python -m avjax.main --config {config} --config.data.root={shlex.quote(args.out)}")


if __name__ == "__main__":
    main()
