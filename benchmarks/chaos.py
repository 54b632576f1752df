"""Disturbs real runs in every way that is known, and reports what survived, what was lost.

Parts:

    sigkill        SIGKILL at random moments, half of them in saves; a run that waits for its saves
    sigkill_async  the same with the default, config.async_checkpointing=True
    damage         flips, truncations, deletions and swaps in checkpoints
    side           damaged metrics.csv, config.json, run.json, data.json.gz, run.lock
    writers        a second process in the folder of a run
    readers        a run that is read while it saves and deletes checkpoints
    signals        SIGTERM, SIGUSR1, SIGINT while training and compiling
    disk           a full disk for two saves (needs the right to mount a tmpfs)
    workers        decoding workers killed and stopped
    hang           batches that never come
    goodput        20 faults in 2,000 steps
    soak           memory and descriptors of 10,000 undisturbed steps

    python benchmarks/chaos.py                                   # a short round of each
    python benchmarks/chaos.py --parts sigkill --rounds 100 --json kills.jsonl
    python benchmarks/chaos.py --parts damage --rounds 1000
    python benchmarks/chaos.py --parts goodput soak              # ten minutes

The runs are of tiny nets on files rendered once.  Each fault is a line of JSON; a table follows.
The exit code is 1 if a fault was not survived.
"""

import argparse
import collections
import json
import os
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # This checkout.

from benchmarks.chaos_parts import damage, kills, long, others, workers
from benchmarks.chaos_parts.processes import SAVE_EVERY, Process

# Rounds of a short run, and the part: a function of (world, finished run, folder, rounds, seed).
PARTS = {
    "sigkill": (4, lambda w, run, f, n, s: kills.run(w, f, n, s)),
    "sigkill_async": (4, lambda w, run, f, n, s: kills.run(w, f, n, s, wait=False)),
    "damage": (100, lambda w, run, f, n, s: damage.run(run, f, n, s)),
    "side": (5, lambda w, run, f, n, s: others.side_files(w, run, f, n, s)),
    "writers": (1, lambda w, run, f, n, s: others.writers(w, f, n, s)),
    "readers": (10, lambda w, run, f, n, s: others.readers(w, f, n, s)),
    "signals": (4, lambda w, run, f, n, s: others.signals(w, f, n, s)),
    "disk": (1, lambda w, run, f, n, s: others.full_disk(w, f, n, s)),
    "workers": (2, lambda w, run, f, n, s: workers.run(w, f, n, s)),
    "hang": (1, lambda w, run, f, n, s: workers.hang(w, f, n, s)),
    "goodput": (2000, lambda w, run, f, n, s: long.goodput(w, f, n, s)),
    "soak": (10_000, lambda w, run, f, n, s: long.soak(w, f, n, s)),
}
LONG = ("goodput", "soak")  # Their rounds are steps; not part of a short run.


def finished_run(world, folder):
    """Trains the run whose checkpoints are damaged; returns its folder."""
    workdir = folder / "finished"
    process = Process(world, workdir, 2 * SAVE_EVERY, f"--config.save_every={SAVE_EVERY}")
    if process.wait():
        raise RuntimeError(f"the undisturbed run failed: {process.text()}")
    return workdir


def disturb(world, folder, names, rounds=None, seed=0):
    """Yields the Results of the named parts.

    Args:
      world: folder of the files that the runs train on, rendered if missing.
      folder: of the runs.
      names: of the parts.
      rounds: of each part; None for those of a short run.
      seed: of all random choices.
    """
    finished = finished_run(world, folder)  # Also renders the files.
    for name in names:
        if name == "disk" and not others.can_mount():
            print("disk: left out, this user may not mount a tmpfs", file=sys.stderr)
            continue
        few, part = PARTS[name]
        yield from part(world, finished, folder, few if rounds is None else rounds, seed)


def table(results):
    """Returns the outcomes as a table in Markdown."""
    groups = collections.defaultdict(list)
    for result in results:
        groups[result.part, result.fault].append(result)
    lines = ["| part | fault | survived | lost steps | seconds |", "|---|---|---|---|---|"]
    for (part, fault), found in groups.items():
        lost = [result.lost for result in found if result.lost is not None]
        seconds = max(result.seconds for result in found)
        lines.append(
            f"| {part} | {fault} | {sum(r.survived for r in found)} of {len(found)} | "
            f"{f'{sum(lost) / len(lost):.1f}, at most {max(lost)}' if lost else ''} | "
            f"{f'at most {seconds:.1f}' if seconds else ''} |"
        )
    told = [
        r for r in results if not r.survived or r.part in LONG and r.seconds or r.part == "soak"
    ]
    return "\n".join([*lines, "", *(f"- {r.part}, {r.fault}: {r.detail}" for r in told)])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    short = [name for name in PARTS if name not in LONG]
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=short, metavar="PART")
    parser.add_argument("--rounds", type=int, help="faults of each part; steps of goodput and soak")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--world", help="folder of the files, to be used again")
    parser.add_argument("--json", help="a file to append a line for each fault to")
    args = parser.parse_args()
    results, start_time = [], time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        world = os.path.abspath(args.world or folder / "world")
        for result in disturb(world, folder, args.parts, args.rounds, args.seed):
            results.append(result)
            line = json.dumps(result._asdict())
            print(line, flush=True)
            if args.json:
                with open(args.json, "a", encoding="utf-8") as file:
                    file.write(line + "\n")
    print(f"\n{table(results)}\n\n{time.monotonic() - start_time:.0f} s")
    sys.exit(not all(result.survived for result in results))


if __name__ == "__main__":
    main()
