"""Converts media files to ArrayRecord shards for fast reading, and reports unusable files.

    python -m avjax.prepare IN OUT                  a folder of videos; its sub-folders are classes
    python -m avjax.prepare list.csv OUT            a CSV of `path` and `split`, paths beside it
    python -m avjax.prepare IN OUT --dataset ucf101 --set lists=DIR --set fold=1
    python -m avjax.prepare IN OUT --for_config configs/avts_kinetics.py       as this config asks
    python -m avjax.prepare IN OUT --check          examines the files, and writes the report only

OUT becomes a TensorFlow Datasets data set of ArrayRecord shards (JPEG frames, 16-bit audio, their
times), with doctor.html, doctor.csv and quarantine.csv.  Train on it with
`avjax.data.datasets.shards`; any TFDS reader reads it too.  The same command resumes a stopped
one, and examines again the files that have changed since.  Clips may have any sample rate, any
frame rate with --fps 0, else --fps or that divided by 2, 3, ..., and frames up to --short_side:
256 suits all recipes.  Large data sets run on Apache Beam: --beam_runner DataflowRunner
--beam_options "...".
"""

import argparse
import functools
import inspect
import math
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from avjax.config import app
from avjax.config.program import program_name
from avjax.runtime import preemption

if TYPE_CHECKING:  # Late imports: --help must not take seconds.
    from avjax.data.prepare.segments import PrepareSettings
    from avjax.data.source import Source


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's flags."""
    p = argparse.ArgumentParser(
        prog=program_name("avjax.prepare"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("source", metavar="IN", help="folder of the files, or a CSV file")
    p.add_argument("out", metavar="OUT", help="folder to write; existing shards are kept")
    p.add_argument(
        "--dataset", default="folder", help="a module of avjax.data.datasets, or your dotted name"
    )
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
    p.add_argument("--sample_rate", type=int, default=48_000, help="Hz of the audio (48000)")
    p.add_argument("--channels", type=int, default=1, choices=(1, 2), help="2 keeps stereo (1)")
    p.add_argument("--jpeg_quality", type=int, default=90, help="1 to 100; 0 for lossless PNG (90)")
    p.add_argument("--segment_seconds", type=float, default=3.0, help="length of an example (3)")
    p.add_argument("--min_seconds", type=float, default=0.5, help="minimum length of a file (0.5)")
    p.add_argument(
        "--require",
        default="both",
        choices=("both", "video", "audio"),
        help="streams without which a file is quarantined (both)",
    )
    p.add_argument(
        "--for_config",
        metavar="FILE",
        help="takes short_side, fps, sample_rate and channels from what this config asks for, e.g. "
        "configs/avts_kinetics.py; flags have precedence",
    )
    p.add_argument("--workers", type=int, help="processes (one per core)")
    p.add_argument("--timeout", type=float, default=60.0, help="seconds per segment (60)")
    p.add_argument("--beam_runner", help="run on Apache Beam: DirectRunner, DataflowRunner, ...")
    p.add_argument("--beam_options", default="", help="options of Beam's pipeline, in quotes")
    return p  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    """Runs the command and exits with its status."""
    action = preemption.report_interruption(
        lambda args: run(apply_config_settings(args, argv)), "the same command resumes"
    )
    sys.exit(app.run(parser(), action, argv) or 0)


def apply_config_settings(args: argparse.Namespace, argv: list[str] | None) -> argparse.Namespace:
    """Returns the arguments, with the settings that --for_config asks for as defaults."""
    if not args.for_config:
        return args
    from avjax.training import data_requirements

    settings, p = data_requirements.prepare_settings(args.for_config), parser()
    print(f"{args.for_config} asks for {data_requirements.format_flags(settings)}", flush=True)
    p.set_defaults(**settings)
    return p.parse_known_args(argv)[0]


def run(args: argparse.Namespace) -> int:
    """Prepares as the arguments say; returns the exit status."""
    from avjax.data.prepare import shard_layout
    from avjax.data.source import unique_notes

    settings = parse_settings(args)
    check_input(args.source)
    root, sources = build_sources(args)
    for note in unique_notes(sources.values()):  # Before hours of work, perhaps in vain.
        print(note, flush=True)
    with shard_layout.open_output(args.out, args.source):
        rows = write(args, settings, root, sources)
    print_summary(args, settings.require, rows, sources)
    return 0


def write(
    args: argparse.Namespace,
    settings: "PrepareSettings",
    root: str,
    sources: Mapping[str, "Source"],
) -> list[dict]:
    """Writes all that is missing in OUT; returns what is known of every file."""
    from avjax.data.prepare import processes, reports, shard_layout, shard_writer
    from avjax.report import dataset_page as page

    name = shard_layout.tfds_name(args.name or os.path.basename(root))
    classes = next(iter(sources.values())).classes
    shards = shard_layout.plan_shards(args.out, name, root, sources)
    shard_layout.record_settings(args.out, settings, shards)
    classes_to_write = None if args.check else classes
    write_one = functools.partial(shard_writer.write_shard, shards, settings, classes_to_write)
    remaining = [
        i for i, shard in enumerate(shards) if not shard_writer.is_finished(shard, classes_to_write)
    ]
    if len(remaining) < len(shards):
        print(f"resumed: {len(shards) - len(remaining)} of {len(shards)} shards are complete")
    if remaining and not args.check:
        shard_layout.remove_metadata(args.out)
    if args.beam_runner:
        from avjax.data.prepare import beam

        beam.run(write_one, remaining, args.beam_runner, args.beam_options, args.timeout)
    else:
        processes.run(
            write_one, {i: len(shards[i].rows) for i in remaining}, args.workers, args.timeout
        )
    rows = shard_layout.load_rows(shards)
    reports.write_csv_reports(args.out, rows, settings.require)
    if not args.check:
        shard_layout.write_metadata(args.out, name, root, sources, settings, shards, rows)
    page.write(args.out, name, rows, sources, settings.require)
    return rows


def parse_settings(args: argparse.Namespace) -> "PrepareSettings":
    """Returns the settings of the flags; raises ValueError for values out of range."""
    from avjax.data.prepare.segments import PrepareSettings

    invalid = [
        f"--{name} {getattr(args, name)}: use {what}"
        for name, right, what in (
            ("short_side", args.short_side in (0, *range(16, 4097)), "16 to 4096, or 0"),
            ("fps", 0 <= args.fps <= 1000, "up to 1000, or 0 for all"),
            ("sample_rate", 1000 <= args.sample_rate <= 192_000, "1000 to 192000"),
            ("jpeg_quality", 0 <= args.jpeg_quality <= 100, "0 to 100"),
            ("segment_seconds", 1 <= args.segment_seconds <= 3600, "1 to 3600"),
            ("min_seconds", 0 <= args.min_seconds < math.inf, "0 or more"),
            ("timeout", 0 < args.timeout < math.inf, "more than 0"),
            ("workers", args.workers is None or args.workers >= 1, "1 or more"),
        )
        if not right
    ]
    if invalid:
        raise ValueError("; ".join(invalid))
    require = ("video", "audio") if args.require == "both" else (args.require,)
    side = args.short_side or None
    return PrepareSettings(
        side, args.fps, args.sample_rate, args.channels, args.jpeg_quality, args.segment_seconds,
        require, args.min_seconds,
    )  # fmt: skip


def check_input(source: str) -> None:
    """Raises ValueError unless IN is a folder or may be a CSV file."""
    from avjax.data.files import listing

    if not os.path.exists(source):
        raise ValueError(f"IN {source} does not exist: name a folder of media files, or a CSV file")
    if os.path.isfile(source) and source.lower().endswith(listing.VIDEO_OR_AUDIO):
        raise ValueError(
            f"IN {source} is a media file: name the folder that holds it, or a CSV file"
        )


def build_sources(args: argparse.Namespace) -> tuple[str, dict[str, "Source"]]:
    """Returns (root, {split: Source}) of the data set that the arguments name."""
    from avjax.data import dataset_args
    from avjax.data.files import listing

    label = f"--dataset {args.dataset}"
    make, splits = dataset_args.resolve_dataset(args.dataset, label)
    options = dataset_args.parse_arguments(args.dataset, make, args.set)
    root = os.path.realpath(args.source)
    if os.path.isfile(root):
        if "splits" not in inspect.signature(make).parameters:
            raise ValueError(f"{label} reads a folder: IN must not be a file")
        root, options["splits"] = os.path.dirname(root), root
    elif args.dataset == "folder" and args.require == "audio":
        options.setdefault("suffixes", listing.VIDEO_OR_AUDIO)
    dataset_args.require_arguments(label, make, options)
    if "all" in (args.split or ()):
        raise ValueError(f"--split all: TFDS keeps that name to itself; use some of {splits}")
    return root, dataset_args.make_sources(make, splits, root, args.split, options)


def print_summary(
    args: argparse.Namespace,
    require: Sequence[str],
    rows: Sequence[dict],
    sources: Mapping[str, "Source"],
) -> None:
    """Prints the outcome, in a few lines, and what to run next."""
    from avjax.data.prepare import file_checks, reports
    from avjax.data.source import coverage

    for split, source in sources.items():
        print(f"{split}: {coverage(source)}")
    for name, count in reports.count_findings(rows).items():
        print(f"{count:8d}  {name}")
    excluded = [
        row["findings"] for row in rows if not file_checks.is_usable(row["findings"], require)
    ]
    num_video_only = sum(file_checks.is_usable(found, ("video",)) for found in excluded)
    page = os.path.join(args.out, "doctor.html")
    print(f"{len(rows)} files, {len(excluded)} of them left out: open {page}")
    if num_video_only and "video" in require:
        print(f"good except for missing audio: {num_video_only}; --require video keeps them")
    if args.check:
        table = shlex.quote(os.path.join(args.out, "quarantine.csv"))
        print(f"next: prepare without --check, or train with --config.data.quarantine={table}")
        return
    size = sum(entry.stat().st_size for entry in os.scandir(args.out)) / 1e6
    config = args.for_config or ("configs/avid_folder.py" if args.require == "both" else "CONFIG")
    print(f"{args.out} takes {size:,.0f} MB; next:")
    print(f"  python -m avjax.main --config {config} --config.data.root={shlex.quote(args.out)}")


if __name__ == "__main__":
    main()
