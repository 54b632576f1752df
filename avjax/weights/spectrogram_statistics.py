"""The mean and deviation that standardize a spectrogram, in AVID's file and in exported weights."""

import zipfile

import numpy as np

from avjax.weights.convert import flat, nested

# Decibels of avjax.nets.frontends.spectrogram.decibels lie between these; deviations of speech and
# music are 5-30.
LOW, HIGH = -100.0, 60.0
SPREAD = (1.0, 80.0)
NAMES = {"mean": "mean", "deviation": "std"}  # Of ours, in exported weights.


def width(model: dict) -> int | None:
    """How many frequencies the Spectrogram of a Towers' spec has; None if it has no such front."""
    front = model["fronts"].get("audio", {})
    if front.get("fn") != "avjax.nets.frontends.spectrogram.Spectrogram":
        return None
    return 1 + front.get("window", 1024) // 4


def read(file, size: int) -> dict[str, np.ndarray]:
    """{"mean", "deviation"} [size] in decibels, from an .npz that has `mean` and `std`.

    That is the file that AVID ships; `deviation` in place of `std` is as good.  ValueError names
    the file, and what is missing, of another shape, or not in decibels.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            there = dict(arrays)
    except (zipfile.BadZipFile, ValueError, EOFError, TypeError) as error:
        raise ValueError(f"{file} is not an .npz of arrays ({error})") from error
    spread = next((name for name in ("std", "deviation") if name in there), None)
    if "mean" not in there or not spread:
        raise ValueError(f"{file} holds {sorted(there)}: it must hold mean and std")
    found = {"mean": there["mean"], "deviation": there[spread]}
    for name, value in found.items():
        if value.dtype.kind not in "fiu" or value.size != size or max(value.shape) != size:
            raise ValueError(
                f"{file}: {name} is {value.dtype} {list(value.shape)}, and the net's spectrogram "
                f"has {size} frequencies: numbers [{size}] are needed"
            )
        found[name] = value = value.astype(np.float32).reshape(-1)
        low, high = (LOW, HIGH) if name == "mean" else SPREAD
        if not (np.isfinite(value).all() and low <= value.min() and value.max() <= high):
            raise ValueError(
                f"{file}: {name} is from {value.min():g} to {value.max():g}; of a spectrogram in "
                f"decibels relative to a power of 1 it is from {low:g} to {high:g}"
            )
    return found


def of_run(stats: dict) -> dict[str, np.ndarray]:
    """{"audio_spectrogram.mean", "audio_spectrogram.std"} of what a run's nets keep; {} if none."""
    found = {}
    for path, value in flat(stats.get("sound") or {}).items():
        front, _, name = path.split("/")
        found[f"{front.removeprefix('fronts_')}_spectrogram.{NAMES[name]}"] = np.asarray(value)
    return found


def parted(contents):
    """(contents of a file without such arrays, {"fronts_audio": {"standardize": ...}} or {})."""
    if type(contents) is not dict:
        return contents, {}
    ours = {outside: inside for inside, outside in NAMES.items()}
    rest, tree = {}, {}
    for key, value in contents.items():
        front, mark, name = str(key).partition("_spectrogram.")
        if mark and name in ours:
            tree[f"fronts_{front}/standardize/{ours[name]}"] = value
        else:
            rest[key] = value
    return rest, nested(tree)
