"""Mean and standard deviation of spectrograms, in AVID's file and in exported weights."""

import os
import zipfile
from typing import Any

import numpy as np

from avjax.runtime.regular_files import check_regular
from avjax.weights.convert import flatten, unflatten

# Range of avjax.nets.frontends.spectrogram.decibel_spectrogram, and of standard deviations, which
# are 5 to 30 for speech and music.
LOW, HIGH = -100.0, 60.0
SPREAD = (1.0, 80.0)
NAMES = {"mean": "mean", "deviation": "std"}  # Of ours, in exported weights.


def width(model: dict) -> int | None:
    """Returns the number of frequencies of a Towers' Spectrogram; None if it has none."""
    front = model["frontends"].get("audio", {})
    if front.get("fn") != "avjax.nets.frontends.spectrogram.Spectrogram":
        return None
    return 1 + front.get("window", 1024) // 4


def read(file: str | os.PathLike, size: int) -> dict[str, np.ndarray]:
    """Reads the spectrogram statistics that AVID ships.

    Args:
      file: .npz with `mean` and `std` (or `deviation`).
      size: number of frequencies of the net's spectrogram.

    Returns:
      {"mean", "deviation"}, float32 [size] in decibels.

    Raises:
      ValueError: the file lacks one, or has another shape or unit.
    """
    try:
        check_regular(file)
        with np.load(file, allow_pickle=False) as arrays:
            stored = dict(arrays)
    except (zipfile.BadZipFile, ValueError, EOFError, TypeError) as error:
        raise ValueError(f"{file} is not an .npz of arrays ({error})") from error
    spread = next((name for name in ("std", "deviation") if name in stored), None)
    if "mean" not in stored or not spread:
        raise ValueError(f"{file} holds {sorted(stored)}: it must hold mean and std")
    found = {"mean": stored["mean"], "deviation": stored[spread]}
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


def from_run(stats: dict) -> dict[str, np.ndarray]:
    """Names the spectrogram statistics of a run for export.

    Args:
      stats: the run's collections of statistics.

    Returns:
      {"audio_spectrogram.mean", "audio_spectrogram.std"}; {} if there are none.
    """
    found = {}
    for path, value in flatten(stats.get("spectrogram_stats") or {}).items():
        front, _, name = path.split("/")
        found[f"{front.removeprefix('frontends_')}_spectrogram.{NAMES[name]}"] = np.asarray(value)
    return found


def split_statistics(contents: Any) -> tuple[Any, dict]:
    """Separates exported spectrogram statistics from the other arrays of a file.

    Args:
      contents: of the file.

    Returns:
      (the other contents, {"frontends_audio": {"standardize": ...}} or {}).
    """
    if type(contents) is not dict:
        return contents, {}
    ours = {outside: inside for inside, outside in NAMES.items()}
    rest, tree = {}, {}
    for key, value in contents.items():
        front, mark, name = str(key).partition("_spectrogram.")
        if mark and name in ours:
            tree[f"frontends_{front}/standardize/{ours[name]}"] = value
        else:
            rest[key] = value
    return rest, unflatten(tree)
