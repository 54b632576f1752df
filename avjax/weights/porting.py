"""Ports published weights to a run, which embeds files and initializes other runs."""

import json
import math
import os
import re
from pathlib import Path

import jax
import jax.numpy as jnp

from avjax.runtime import checkpoint
from avjax.types import TrainState, Tree
from avjax.weights import (
    certificate,
    convert,
    names_towers,
    published,
    safetensors,
    sources,
    spectrogram_statistics,
    torch_file,
)
from avjax.weights.imported import Weights


def port(
    source: str,
    file: str | os.PathLike,
    out: str | os.PathLike,
    sha256: str = "",
    audio_stats: str | os.PathLike | None = None,
) -> dict:
    """Imports the weights of `file` as a run in the folder `out`; returns its certificate.

    Args:
      source: a key of avjax.weights.sources.SOURCES.
      file: .pth, .pth.tar, .pt or .safetensors.
      out: folder of the new run, empty or not there yet.
      sha256: start of the file's expected hash.
      audio_stats: .npz with `mean` and `std` of the spectrogram.
    """
    published.check_source(source)
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty: choose another --out")
    known = sources.SOURCES[source]
    try:
        held, standardize = spectrogram_statistics.split_statistics(read_weights_file(file))
        weights = known.read(held)
        table = names_towers.of_towers(weights.model, weights.parts)
        shapes = certificate.shapes(weights.model, weights.inputs)
        tree = convert.to_flax(weights.state, table, shapes, weights.ignored)
    except ValueError as error:
        raise ValueError(str(error) if str(file) in str(error) else f"{file}: {error}") from error
    digest = certificate.sha256(file)
    # Names of torch.hub's files end in the first eight digits of their hash.
    named = re.search(r"-([0-9a-f]{8})\.pth(\.tar)?$", str(file))
    for expected in (sha256.lower(), named[1] if named else ""):
        if not digest.startswith(expected):
            raise ValueError(f"{file} has SHA-256 {digest}, not {expected}: wrong or damaged file")
    stats = {"batch_stats": tree.get("batch_stats", {})}
    if audio_stats:
        if not (size := spectrogram_statistics.width(weights.model)):
            raise ValueError(f"--audio_stats: {source} has no spectrogram to standardize")
        standardize = {
            "frontends_audio": {"standardize": spectrogram_statistics.read(audio_stats, size)}
        }
    if standardize:
        stats["spectrogram_stats"] = standardize
    extras = dict(weights.extras)
    save(out, tree["params"], {"stats": stats, "memory": extras.pop("memory", {}), **extras})
    used = {name for name, _ in table.values()}
    paper = {
        "source": source,
        "home": known.home,
        "license": known.license,
        "file": Path(file).name,
        "sha256": digest,
        "keys": len(table),
        "parameters": sum(math.prod(a.shape) for a in convert.flatten(tree["params"]).values()),
        "left_out": sorted(n for n in weights.state if n not in used and convert.NORMS not in n),
        "norms": "epsilon and momentum are those of the config's nets",
        **weights.notes,
        "weights": certificate.digest(tree),
        "outputs": certificate.outputs(weights.model, tree, weights.inputs),
    }
    write(out / "config.json", run_config(weights))
    write(out / "certificate.json", paper)
    print(
        f"{out}: {paper['parameters']:,} parameters of {source} ({known.license}), {len(table)} "
        f"arrays used, {len(paper['left_out'])} left out; see certificate.json"
    )
    if spectrogram_statistics.width(weights.model) and not standardize:
        print(
            f"{out}: no statistics of its spectrogram, so only its video net can be used: set "
            "--audio_stats, see python -m avjax.port --help"
        )
    return paper


def read_weights_file(file: str | os.PathLike) -> dict:
    """The contents of a PyTorch or safetensors file."""
    return safetensors.read(file) if str(file).endswith(".safetensors") else torch_file.read(file)


def run_config(weights: Weights) -> dict:
    """Config of a ported run: a method with these nets, and the clips they expect."""
    clip = dict(weights.clip)
    size = clip.pop("size", None)
    sampler, transforms = dict(fn="avjax.data.clip_sampling.uniform", **clip), ()
    if size:
        short = math.ceil(size / 0.875)
        sampler["short_side"] = short
        transforms = (
            dict(fn="avjax.data.transforms.video.center_crop", frame_size=(short, 2 * short)),
            dict(fn="avjax.data.transforms.video.apply_on_host", size=size),
        )
    return dict(
        seed=0,
        names=weights.parts,
        method=dict(
            fn="avjax.methods.avid",
            model=weights.model,
            negatives=dict(fn="avjax.losses.negatives.in_batch"),
            loss_fn=dict(fn="avjax.losses.contrastive.info_nce"),
            terms=dict(v2a=1.0, a2v=1.0),
            temperature=dict(fn="avjax.losses.temperature.fixed_temperature", temperature=0.07),
        ),
        evals=dict(ported=dict(source=None, clip_sampler=sampler, transforms=transforms)),
    )


def save(out: Path, params: Tree, state: Tree) -> None:
    """Writes a TrainState at step 0 to the folder of a run."""

    params, state = jax.tree.map(jnp.asarray, (params, state))
    ts = TrainState(jnp.zeros((), jnp.int32), jax.random.key(0), params, (), state)
    with checkpoint.open_checkpoints(out) as checkpoints:
        checkpoint.save(checkpoints, ts)
        checkpoint.wait_until_finished(checkpoints)


def write(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2))
