"""Fuzzes the decoder: each mutated file must give a clip or a MediaError, within 5 seconds.

Intact files of many kinds are cut, spliced, repeated, their bits flipped and header fields
overwritten.  A clip of each is decoded in a child process with 1 GB of address space.  File k
depends on the seed and the intact files only.  The exit code is 1 if another error was raised or
decoding took longer; a child in which FFmpeg crashed is restarted, and counted.

    python benchmarks/fuzz.py --files 5000
    python benchmarks/fuzz.py --files 5000 --seeds ~/videos --keep_folder failures
    python benchmarks/fuzz.py --files 0 --seeds ~/videos       # as they are
"""

import argparse
import collections
import json
import os
import pathlib
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # This checkout.

from avjax.data import clip_sampling
from avjax.data.media import video as media_video
from avjax.runtime.progress import progress
from benchmarks import mutations

MEMORY, TIMEOUT = 2**30, 5.0  # Bytes, seconds.
LARGEST = 4 * 2**20  # Whole files above this many bytes are not mutated.


class Result(NamedTuple):
    """The outcome of a file: clip, skip, uncaught, hang, or the signal of a crash."""

    name: str
    outcome: str
    reason: str
    seconds: float


def whole_files(folder):
    """Writes whole files of many kinds."""
    from tests.data import matrix  # Not part of avjax: where this is run, so are its tests.

    made = {**matrix.GOOD, **matrix.SOUNDS}
    heavy = {"eight_k.mov"}
    matrix.written(folder, {name: made[name] for name in made.keys() - heavy})


def serve():
    """Child process: decodes a clip of each path on stdin, and prints the outcome."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        path = json.loads(line)
        try:
            clip(path)
            said = "clip", ""
        except media_video.MediaError as error:
            said = "skip", error.reason
        except Exception:  # A file may raise MediaError only: this is a bug.
            said = "uncaught", traceback.format_exc()
        print(json.dumps(said), flush=True)


def clip(path):
    """Decodes a random clip and uniform clips of a file: the streams that it has."""
    with media_video.open_media(path) as media:
        for sampler in (
            clip_sampling.random(8, 16, 2.0, 24000),
            clip_sampling.uniform(8, 16, 2.0, 24000, num_clips=2),
        ):
            for window in sampler.sample(media.info, np.random.default_rng(0)):
                if media.video is not None:
                    shape = media_video.read_frames(media, window[0], 8, 16, short_side=128).shape
                    assert shape[0] == 8 and min(shape[1:3]) == 128 and shape[3] == 3
                if media.audio is not None:
                    assert media_video.read_audio(media, window[1], 48000, 24000).shape == (48000,)


def decode_each(files):
    """Yields the Result of each (name, path); one child process at a time."""
    child = None
    try:
        for name, path in files:
            child = child or _child()
            start_time = time.monotonic()
            child.stdin.write(json.dumps(str(path)) + "\n")
            child.stdin.flush()
            ready, _, _ = select.select([child.stdout], [], [], TIMEOUT)
            line = child.stdout.readline() if ready else ""
            took = time.monotonic() - start_time
            if line:
                yield Result(name, *json.loads(line), took)
                continue
            if not ready:
                child.kill()
            code = child.wait()
            child = None
            crash = f"crash {signal.Signals(-code).name if code < 0 else code}"
            yield Result(name, crash if ready else "hang", "", took)
    finally:
        if child:
            child.kill()
            child.wait()


def _child():
    """Starts a child and waits until it is ready: its start does not count."""
    child = subprocess.Popen(
        [sys.executable, os.path.abspath(__file__), "--serve"], text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    child.stdin.write('"/"\n')
    child.stdin.flush()
    if not child.stdout.readline():
        raise RuntimeError(f"a child process ended at once, with code {child.wait()}")
    return child


def fuzz(paths, files, seed=0, first=0, keep_folder=None):
    """Yields the Results of `files` mutations of intact files, from number `first` on.

    keep_folder: a folder for the files that fail; None discards them.
    """
    paths = sorted(path for path in map(pathlib.Path, paths) if 0 < path.stat().st_size < LARGEST)
    with tempfile.TemporaryDirectory() as folder:
        data = {}

        def written():
            for number in range(first, first + files):
                name, data["now"] = mutations.mutated(paths, seed, number)
                path = pathlib.Path(folder, f"file{pathlib.Path(name).suffix}")
                path.write_bytes(data["now"])
                yield name, path
                path.unlink()

        for result in decode_each(written()):
            if keep_folder and is_failure(result):
                os.makedirs(keep_folder, exist_ok=True)
                pathlib.Path(keep_folder, result.name).write_bytes(data["now"])
            yield result


def is_failure(result):
    return result.outcome not in ("clip", "skip")


def table(results):
    """Returns a summary of the outcomes as text."""
    counts = collections.Counter(r.outcome for r in results)
    reasons = collections.Counter(
        re.sub(r"-?\d[\d.e+-]*", "#", r.reason)[:80] for r in results if r.outcome == "skip"
    )
    lines = [f"{len(results)} files: " + ", ".join(f"{n} {k}" for k, n in counts.most_common())]
    lines += [f"  {n:6d} {reason}" for reason, n in reasons.most_common()]
    lines += [
        f"  {r.seconds:6.2f} s {r.name}" for r in sorted(results, key=lambda r: -r.seconds)[:3]
    ]
    lines += [f"{r.outcome}: {r.name}\n{r.reason}" for r in results if is_failure(r)]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=5000, help="0: the whole files as they are")
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", help="a folder of whole files; else they are rendered")
    parser.add_argument("--keep_folder", help="a folder for the files that fail")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not args.seeds:
            whole_files(folder)
        paths = sorted(
            path for path in pathlib.Path(args.seeds or folder).iterdir() if path.is_file()
        )
        if args.files:
            running = fuzz(paths, args.files, args.seed, args.first, args.keep_folder)
        else:
            running = decode_each((path.name, path) for path in paths)
        results = list(progress(running, args.files or len(paths), "decoding broken files"))
    print(table(results))
    sys.exit(any(r.outcome in ("uncaught", "hang") for r in results))


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["--serve"] else main()
