"""Ports published PyTorch weights to avjax, and exports weights to PyTorch.

    python -m avjax.port avid checkpoint.pth.tar --out ported/avid     import weights
        --audio_stats stats.npz                                        and spectrogram statistics
    python -m avjax.port --check ported/avid                           verify a ported run
    python -m avjax.port --export runs/mine --out mine.safetensors     export weights

Nothing in the file is executed: the reader knows tensors and plain containers only and refuses
everything else by name.  OUT is an ordinary run with a certificate.json: start from it with
`config.init_from`, or extract features with `python -m avjax.embed --run OUT`.  Respect the license
that the certificate names.

AVID's audio net needs the mean and standard deviation of each frequency of its spectrogram, which
AVID ships in a separate file: pass it as --audio_stats, else only the video net can be used.
--export writes them too, as audio_spectrogram.mean and audio_spectrogram.std; the net's input is
(decibels - mean) / (std + 1e-5).
"""

import argparse
import json
import math
import re
from pathlib import Path

from avjax.config import app
from avjax.config.program import program_name
from avjax.runtime import preemption
from avjax.weights import published


def parser():
    p = argparse.ArgumentParser(
        prog=program_name("avjax.port"),
        description=__doc__,
        epilog=published.table(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("source", nargs="?", metavar="SOURCE", help="origin of the weights, see below")
    p.add_argument("file", nargs="?", metavar="FILE", help=".pth, .pth.tar, .pt or .safetensors")
    p.add_argument("--out", help="folder of the new run; with --export, a .safetensors file")
    p.add_argument("--sha256", default="", help="expected start of the file's SHA-256")
    p.add_argument("--audio_stats", help=".npz with `mean` and `std` of the spectrogram")
    p.add_argument("--export", metavar="RUN", help="export the latest weights of a run")
    p.add_argument("--check", metavar="DIR", help="verify a ported run against its certificate")
    return p


def main(argv=None):
    app.run(parser(), preemption.report_interruption(run, "the same command starts it again"), argv)


def run(args):
    """Runs what the arguments say."""
    if args.check:
        return check(args.check)
    if not args.out:
        raise ValueError("--out is required")
    if args.export:
        return export(args.export, args.out)
    if not args.source or not args.file:
        raise ValueError("SOURCE and FILE are required: avid checkpoint.pth.tar --out DIR")
    return port(args.source, args.file, args.out, args.sha256, args.audio_stats)


def port(source, file, out, sha256="", audio_stats=None):
    """Imports the weights of `file` as a run in the folder `out`; returns its certificate.

    Args:
      source: a key of avjax.weights.sources.SOURCES.
      sha256: start of the file's expected hash.
      audio_stats: .npz with `mean` and `std` of the spectrogram.
    """
    from avjax.weights import certificate, convert, names_towers, sources, spectrogram_statistics

    if source not in sources.SOURCES:
        raise ValueError(
            f"unknown source {source!r}; available: {', '.join(sources.SOURCES)}; see --help"
        )
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
    for wanted in (sha256.lower(), named[1] if named else ""):
        if not digest.startswith(wanted):
            raise ValueError(f"{file} has SHA-256 {digest}, not {wanted}: wrong or damaged file")
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


def read_weights_file(file):
    """The contents of a PyTorch or safetensors file."""
    from avjax.weights import safetensors, torch_file

    return safetensors.read(file) if str(file).endswith(".safetensors") else torch_file.read(file)


def run_config(weights) -> dict:
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


def save(out, params, state):
    """Writes a TrainState at step 0 to the folder of a run."""
    import jax
    import jax.numpy as jnp

    from avjax.runtime import checkpoint
    from avjax.types import TrainState

    params, state = jax.tree.map(jnp.asarray, (params, state))
    ts = TrainState(jnp.zeros((), jnp.int32), jax.random.key(0), params, (), state)
    with checkpoint.manager(out, max_to_keep=1) as checkpoints:
        checkpoint.save(checkpoints, ts)
        checkpoints.wait_until_finished()


def export(run, file):
    """Exports encoders and heads of a run's latest checkpoint as a PyTorch state dict.

    Includes the statistics of its spectrogram, if it has any.
    """
    from avjax.weights import convert, names_towers, safetensors, spectrogram_statistics
    from avjax.weights.source_avid import ENDS

    config, saved = load_latest(run)
    tree, step = net_variables(saved), int(saved["step"])
    model = config["method"]["model"]
    default = {f"{g}_{m}": (f"{m}_{e}.", "conv") for m in model["heads"] for g, e in ENDS.items()}
    table = names_towers.of_towers(model, config.get("names", default))
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


def load_run(run):
    """(config, {"params", "batch_stats"}, step) of a run's latest checkpoint, in NumPy."""
    config, saved = load_latest(run)
    return config, net_variables(saved), int(saved["step"])


def load_latest(run):
    """(config, latest checkpoint) of a run, in NumPy."""
    import jax
    import numpy as np

    from avjax.runtime import checkpoint

    config, saved = checkpoint.read_config(run), checkpoint.restore_latest(run)
    saved["params"], saved["state"] = jax.tree.map(np.asarray, (saved["params"], saved["state"]))
    return config, saved


def net_variables(saved) -> dict:
    """{"params", "batch_stats"} of a checkpoint."""
    stats = saved["state"].get("stats") or {}
    return {"params": saved["params"], "batch_stats": stats.get("batch_stats", {})}


def check(folder):
    """Verifies a ported run against its certificate; ValueError if they differ."""
    from avjax.weights import certificate

    paper = json.loads((Path(folder) / "certificate.json").read_text())
    config, tree, _ = load_run(folder)
    if certificate.digest(tree) != paper["weights"]:
        raise ValueError(f"{folder}: the weights differ from those of the certificate")
    made = paper["outputs"]
    inputs = {k.partition("_")[2]: tuple(o["input"]) for k, o in made.items()}
    found = certificate.outputs(config["method"]["model"], tree, inputs)
    if odd := certificate.differing(found, made):
        raise ValueError(f"{folder}: outputs of {', '.join(odd)} differ from the certificate")
    print(f"{folder}: weights and outputs match the certificate")


def write(path, value):
    path.write_text(json.dumps(value, indent=2))


if __name__ == "__main__":
    main()
