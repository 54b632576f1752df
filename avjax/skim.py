"""Finds the moments of long videos: `python -m avjax.skim --run RUN video.mp4 --out DIR`.

RUN is the folder of a run of avjax.methods.skimming, or of a chain with one, such as that of
configs/skim_world.py.  One frame and the audio of each clip of a video are described by its cheap
nets, and its skimming net selects the clips that tell what the video shows.  DIR gets

    moments.csv     path, start and end in seconds, and the attention of image, audio and both, the
                    highest of the moment; clips next to each other are one moment
    <video>.html    an offline page: frames over time, both attentions, the moments to play

Files are read in little memory, whatever their length.
"""

import argparse
import os
from pathlib import Path

from avjax.config import app, trust
from avjax.config.program import program_name
from avjax.runtime import csv_file, preemption

COLUMNS = ("image", "audio", "both")


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's flags."""
    p = argparse.ArgumentParser(
        prog=program_name("avjax.skim"),
        description=__doc__,
        epilog=app.CACHE_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("paths", metavar="VIDEO", nargs="+", help="video files")
    p.add_argument("--run", required=True, help="folder of the run, or of the chain")
    p.add_argument(
        "--out", metavar="DIR", default="moments", help="folder of the results (moments)"
    )
    p.add_argument("--num_clips", type=int, help="clips to select (as many as the net has steps)")
    p.add_argument("--trust", metavar="PACKAGE", action="append", default=[], help=trust.HELP)
    return p


def main(argv: list[str] | None = None) -> None:
    app.run(parser(), preemption.report_interruption(run, "re-run the command"), argv)


def run(args: argparse.Namespace) -> int:
    """Skims the files, writes the results, and returns the exit status: 1 if a file failed."""
    if missing := [path for path in args.paths if not os.path.isfile(path)]:
        raise FileNotFoundError(f"no such file: {', '.join(missing)}")
    if args.num_clips is not None and args.num_clips < 1:
        raise ValueError(f"--num_clips {args.num_clips}: use 1 or more")
    app.start_jax_alone("avjax.skim")
    from avjax.data.media.media_file import MediaError
    from avjax.downstream import moments
    from avjax.report import moments_page

    skimmer, out = moments.open_skimmer(args.run, args.trust), Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    lines: list[tuple] = [("path", "start", "end", *COLUMNS)]
    failed: list[str] = []
    for path, name in zip(args.paths, page_names(args.paths)):
        try:
            found = moments.find(skimmer, path, args.num_clips)
            page = moments_page.write(out / name, path, found, skimmer.clip_seconds)
        except MediaError as error:
            failed.append(f"{path} {error.reason}")
            continue
        for start, end, values in found.moments:
            found_values = (values.get(name) for name in COLUMNS)
            lines.append((path, round(start, 3), round(end, 3), *found_values))
        print(f"{path}: {len(found.moments)} moments of {len(found.starts)} clips; open {page}")
    if failed and len(failed) == len(args.paths):
        raise ValueError("; ".join(failed))
    csv_file.write_csv(out / "moments.csv", lines)
    for text in failed:
        print(f"left out: {text}")
    return int(bool(failed))


def page_names(paths: list[str]) -> list[str]:
    """Returns a different name for the page of each file."""
    names: list[str] = []
    for path in paths:
        stem, number = Path(path).stem, 1
        name = f"{stem}.html"
        while name in names:
            number += 1
            name = f"{stem}-{number}.html"
        names.append(name)
    return names


if __name__ == "__main__":
    main()
