"""Exports the weights of a run for PyTorch, and checks a run against its certificate."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from avjax.runtime import checkpoint, run_config
from avjax.runtime.regular_files import read_text
from avjax.types import Tree
from avjax.weights import certificate, convert, names_towers, safetensors, spectrogram_statistics
from avjax.weights.source_avid import ENDS


def export(
    run: str | os.PathLike, file: str | os.PathLike, trust: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Exports encoders and heads of a run's latest checkpoint as a PyTorch state dict.

    Includes the statistics of its spectrogram, if it has any.

    Args:
      run: folder of the run.
      file: the .safetensors file to write.
      trust: packages that the run's config may name, see `config.build`.

    Returns:
      {name: array}, as written.
    """
    config, saved = load_latest(run)
    tree, step = net_variables(saved), int(saved["step"])
    model = config["method"]["model"]
    default = {f"{g}_{m}": (f"{m}_{e}.", "conv") for m in model["heads"] for g, e in ENDS.items()}
    table = names_towers.of_towers(model, config.get("names", default), trust)
    ours = ("encoders_", "heads_")  # Not, e.g., a learned temperature.
    inside = {c: {w: part for w, part in tree[c].items() if w.startswith(ours)} for c in tree}
    state = convert.to_torch(inside, table)
    sound = spectrogram_statistics.from_run(saved["state"].get("stats") or {})
    safetensors.write(file, state | sound, {"step": str(step), "program": "avjax"})
    print(f"{file}: {len(state)} arrays of step {step} of {run}")
    if sound:
        print(
            f"{file}: includes {' and '.join(sorted(sound))}, which standardize its spectrogram: "
            "remove them before load_state_dict"
        )
    elif spectrogram_statistics.width(model):
        print(f"{file}: the run has no statistics of its spectrogram")
    return state | sound


def load_run(run: str | os.PathLike) -> tuple[dict, Tree, int]:
    """(config, {"params", "batch_stats"}, step) of a run's latest checkpoint, in NumPy."""
    config, saved = load_latest(run)
    return config, net_variables(saved), int(saved["step"])


def load_latest(run: str | os.PathLike) -> tuple[dict, Tree]:
    """(config, latest checkpoint) of a run, in NumPy."""

    config, saved = run_config.read(run), checkpoint.restore_latest(run)
    saved["params"], saved["state"] = jax.tree.map(np.asarray, (saved["params"], saved["state"]))
    return config, saved


def net_variables(saved: Tree) -> dict:
    """{"params", "batch_stats"} of a checkpoint."""
    stats = saved["state"].get("stats") or {}
    return {"params": saved["params"], "batch_stats": stats.get("batch_stats", {})}


def check(folder: str | os.PathLike, trust: Sequence[str] = ()) -> None:
    """Verifies a ported run against its certificate; ValueError if they differ.

    Args:
      folder: of the run.
      trust: packages that its config may name, see `config.build`.
    """
    paper = json.loads(read_text(Path(folder) / "certificate.json"))
    config, tree, _ = load_run(folder)
    if certificate.digest(tree) != paper["weights"]:
        raise ValueError(f"{folder}: the weights differ from those of the certificate")
    reference = paper["outputs"]
    inputs = {k.partition("_")[2]: tuple(o["input"]) for k, o in reference.items()}
    found = certificate.outputs(config["method"]["model"], tree, inputs, trust)
    if odd := certificate.differing(found, reference):
        raise ValueError(f"{folder}: outputs of {', '.join(odd)} differ from the certificate")
    print(f"{folder}: weights and outputs match the certificate")
