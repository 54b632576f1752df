"""Flips, truncations, deletions and swaps in checkpoints: all are found, all fall back."""

import pathlib
import random
import shutil

from benchmarks.chaos_parts.processes import Result

PART = "damage"
KINDS = ("flip a bit", "truncate", "delete", "swap")


def run(finished, folder, rounds, seed):
    """Yields a Result for each damage to a copy of the newest checkpoint of a run.

    Readers must take the one before.  Of every hundredth damage the state is restored by a reader,
    and the run's folder is opened for writing, which sets the damaged checkpoint aside.

    Args:
      finished: folder of a run with two checkpoints.
      folder: for the copy.
      rounds: how many.
      seed: of the damages.
    """
    from avjax.runtime import checkpoint, verified_steps

    rng, run_folder = random.Random(seed), folder / "damaged"
    shutil.copytree(finished, run_folder)
    newest, older = verified_steps.list_steps(run_folder / "checkpoints")[:2]
    place = run_folder / "checkpoints" / str(newest)
    paths = [path for path in sorted(place.rglob("*")) if path.is_file() and path.stat().st_size]
    for number in range(rounds):
        kind = KINDS[number % len(KINDS)]
        before = damage(paths, kind, rng)
        found = verified_steps.find_verified(place.parent)
        survived = found[0] == older and newest in found[1]
        if survived and number % 100 < len(KINDS):
            survived = int(checkpoint.restore_latest(run_folder)["step"]) == older
            with checkpoint.open_checkpoints(run_folder) as checkpoints:
                survived &= checkpoints.manager.latest_step() == older
            (run_folder / verified_steps.DAMAGED / str(newest)).rename(place)
        yield Result(PART, kind, survived, newest - older, 0.0, found[1].get(newest, "not found"))
        for path, data in before.items():
            path.write_bytes(data)


def damage(paths, kind, rng):
    """Damages one file of `paths`, or swaps two; returns {path: what it held}."""
    path = rng.choice(paths)
    data = bytearray(path.read_bytes())
    before = {path: bytes(data)}
    if kind == "flip a bit":
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
    if kind == "truncate":
        path.write_bytes(data[: rng.randrange(len(data))])
    if kind == "delete":
        path = rng.choice([path for path in paths if path.name != "manifest.json"])
        before = {path: path.read_bytes()}
        path.unlink()  # Without its manifest it would be one of an earlier version.
    if kind == "swap":
        others = [other for other in paths if other.read_bytes() != data]
        other = rng.choice(others)
        before[other] = other.read_bytes()
        path.write_bytes(before[other])
        other.write_bytes(data)
    return before


SIDE_FILES = {
    "zeros": lambda data, rng: bytes(len(data)),
    "empty": lambda data, rng: b"",
    "torn": lambda data, rng: data[: rng.randrange(len(data) or 1)],
    "garbled": lambda data, rng: rng.randbytes(len(data)),
    "zeros at the end": lambda data, rng: data + bytes(4096),
}


def damage_side_file(run_folder, name, kind, rng):
    """Damages a file beside the checkpoints of a run."""
    path = pathlib.Path(run_folder) / name
    path.write_bytes(SIDE_FILES[kind](path.read_bytes(), rng))
