"""Brings published PyTorch weights here, and takes ours to PyTorch.

    python -m avjax.port avid checkpoint.pth.tar --out ported/avid     weights in
        --sound stats.npz                                              and of its spectrogram
    python -m avjax.port --check ported/avid                           are they still the same?
    python -m avjax.port --export runs/mine --out mine.safetensors     weights out

Nothing in the file is run: a reader that knows tensors and plain containers only reads it, and
refuses all else by name.  OUT is an ordinary run with a certificate.json; start from it with
`config.init_from`, or take features with `python -m avjax.embed --run OUT`.  Mind the licence
that the certificate names.

AVID's net of sound needs the mean and the standard deviation of each frequency of its spectrogram,
which AVID keeps in a file of its own: give it as --sound, else only the net of video can be used.
--export writes them too, as audio_spectrogram.mean and audio_spectrogram.std; the input of the net
is (decibels - mean) / (std + 1e-5).
"""

import argparse
import json
import math
import re
from pathlib import Path

from avjax.config import app
from avjax.runtime import preemption
from avjax.weights import published


def parser():
    p = argparse.ArgumentParser(
        prog="python -m avjax.port",
        description=__doc__,
        epilog=published.table(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("source", nargs="?", metavar="SRC", help="whose weights: a source, see below")
    p.add_argument("file", nargs="?", metavar="FILE", help=".pth, .pth.tar, .pt or .safetensors")
    p.add_argument("--out", help="folder of the run to make; with --export, a .safetensors file")
    p.add_argument("--sha256", default="", help="what the file's SHA-256 must begin with")
    p.add_argument("--sound", help=".npz with `mean` and `std` of the spectrogram")
    p.add_argument("--export", metavar="RUN", help="write the newest weights of a run")
    p.add_argument("--check", metavar="DIR", help="compare a ported run with its certificate")
    return p


def main(argv=None):
    app.run(parser(), preemption.in_one_line(run, "the same command starts it again"), argv)


def run(args):
    """Does what the arguments say."""
    if args.check:
        return check(args.check)
    if not args.out:
        raise ValueError("--out is missing: where to write")
    if args.export:
        return export(args.export, args.out)
    if not args.source or not args.file:
        raise ValueError("say whose weights and which file: avid checkpoint.pth.tar --out DIR")
    return port(args.source, args.file, args.out, args.sha256, args.sound)


def port(source, file, out, sha256="", sound=None):
    """Writes the weights of `file` as a run in the folder `out`; its certificate."""
    from avjax.weights import certificate, convert, names_towers, sources, spectrogram_statistics

    if source not in sources.SOURCES:
        raise ValueError(
            f"no source {source!r}: there are {', '.join(sources.SOURCES)}; --help says of what"
        )
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty: choose another --out")
    known = sources.SOURCES[source]
    try:
        held, standardize = spectrogram_statistics.parted(contents(file))
        weights = known.read(held)
        table = names_towers.of_towers(weights.model, weights.parts)
        shapes = certificate.shapes(weights.model, weights.inputs)
        tree = convert.take(weights.state, table, shapes, weights.left)
    except ValueError as error:
        raise ValueError(str(error) if str(file) in str(error) else f"{file}: {error}") from error
    digest = certificate.sha256(file)
    # torch.hub's files end in the first eight digits of theirs.
    named = re.search(r"-([0-9a-f]{8})\.pth(\.tar)?$", str(file))
    for wanted in (sha256.lower(), named[1] if named else ""):
        if not digest.startswith(wanted):
            raise ValueError(f"{file} is another file, or damaged: SHA-256 {digest}, not {wanted}")
    stats = {"batch_stats": tree.get("batch_stats", {})}
    if sound:
        if not (size := spectrogram_statistics.width(weights.model)):
            raise ValueError(f"--sound: no net of {source} has a spectrogram to standardize")
        standardize = {"fronts_audio": {"standardize": spectrogram_statistics.read(sound, size)}}
    if standardize:
        stats["sound"] = standardize
    extras = dict(weights.extras)
    save(out, tree["params"], {"stats": stats, "memory": extras.pop("memory", {}), **extras})
    used = {name for name, _ in table.values()}
    paper = {
        "source": source,
        "home": known.home,
        "licence": known.licence,
        "file": Path(file).name,
        "sha256": digest,
        "keys": len(table),
        "parameters": sum(math.prod(a.shape) for a in convert.flat(tree["params"]).values()),
        "left_out": sorted(n for n in weights.state if n not in used and convert.NORMS not in n),
        "norms": "epsilon and momentum are those of the config's nets",
        **weights.notes,
        "weights": certificate.digest(tree),
        "outputs": certificate.outputs(weights.model, tree, weights.inputs),
    }
    write(out / "config.json", config_of(weights))
    write(out / "certificate.json", paper)
    print(
        f"{out}: {paper['parameters']:,} parameters of {source} ({known.licence}), {len(table)} "
        f"arrays taken, {len(paper['left_out'])} left out; see certificate.json"
    )
    if spectrogram_statistics.width(weights.model) and not standardize:
        print(
            f"{out}: without the statistics of its spectrogram, so only its net of video can be "
            "used: give --sound, see python -m avjax.port --help"
        )
    return paper


def contents(file):
    """What is in a PyTorch or safetensors file."""
    from avjax.weights import safetensors, torch_file

    return safetensors.read(file) if str(file).endswith(".safetensors") else torch_file.read(file)


def config_of(weights) -> dict:
    """The config of a ported run: the method that has these nets, and what they look at."""
    clip = dict(weights.clip)
    size = clip.pop("size", None)
    view, transforms = dict(fn="avjax.data.clip_sampling.even", **clip), ()
    if size:
        short = math.ceil(size / 0.875)
        view["short_side"] = short
        transforms = (
            dict(fn="avjax.data.transforms.video.center", canvas=(short, 2 * short)),
            dict(fn="avjax.data.transforms.video.applied", size=size),
        )
    return dict(
        seed=0,
        names=weights.parts,
        method=dict(
            fn="avjax.methods.avid",
            model=weights.model,
            negatives=dict(fn="avjax.losses.negatives.in_batch"),
            contrast=dict(fn="avjax.losses.contrastive.info_nce"),
            terms=dict(v2a=1.0, a2v=1.0),
            scale=dict(fn="avjax.losses.contrastive.fixed", temperature=0.07),
        ),
        evals=dict(ported=dict(source=None, view=view, transforms=transforms)),
    )


def save(out, params, state):
    """Writes a TrainState at step 0 in the folder of a run."""
    import jax
    import jax.numpy as jnp

    from avjax.runtime import checkpoint
    from avjax.types import TrainState

    params, state = jax.tree.map(jnp.asarray, (params, state))
    ts = TrainState(jnp.zeros((), jnp.int32), jax.random.key(0), params, (), state)
    with checkpoint.manager(out, keep=1) as checkpoints:
        checkpoint.save(checkpoints, ts)
        checkpoints.wait_until_finished()


def export(run, file):
    """Writes the encoders and heads of a run's newest checkpoint as a PyTorch state dict.

    With them the statistics of its spectrogram, if it has some.
    """
    from avjax.weights import convert, names_towers, safetensors, spectrogram_statistics
    from avjax.weights.source_avid import ENDS

    config, saved = newest(run)
    tree, step = weights_of(saved), int(saved["step"])
    model = config["method"]["model"]
    default = {f"{g}_{m}": (f"{m}_{e}.", "conv") for m in model["heads"] for g, e in ENDS.items()}
    table = names_towers.of_towers(model, config.get("names", default))
    ours = ("encoders_", "heads_")  # A learned temperature, say, has no place there.
    inside = {c: {w: part for w, part in tree[c].items() if w.startswith(ours)} for c in tree}
    state = convert.give(inside, table)
    sound = spectrogram_statistics.of_run(saved["state"].get("stats") or {})
    safetensors.write(file, state | sound, {"step": str(step), "program": "avjax"})
    print(f"{file}: {len(state)} arrays of step {step} of {run}")
    if sound:
        print(
            f"{file}: also {' and '.join(sorted(sound))}, by which its spectrogram is "
            "standardized: take them out before load_state_dict"
        )
    elif spectrogram_statistics.width(model):
        print(f"{file}: the run has no statistics of its spectrogram to go with them")
    return state | sound


def restored(run):
    """(config, {"params", "batch_stats"}, step) of the newest checkpoint of a run, in NumPy."""
    config, saved = newest(run)
    return config, weights_of(saved), int(saved["step"])


def newest(run):
    """(config, newest checkpoint) of a run, in NumPy."""
    import jax
    import numpy as np

    from avjax.runtime import checkpoint

    config, saved = checkpoint.config_of(run), checkpoint.newest(run)
    saved["params"], saved["state"] = jax.tree.map(np.asarray, (saved["params"], saved["state"]))
    return config, saved


def weights_of(saved) -> dict:
    """{"params", "batch_stats"} of a checkpoint."""
    stats = saved["state"].get("stats") or {}
    return {"params": saved["params"], "batch_stats": stats.get("batch_stats", {})}


def check(folder):
    """Compares a ported run with its certificate; ValueError if they differ."""
    from avjax.weights import certificate

    paper = json.loads((Path(folder) / "certificate.json").read_text())
    config, tree, _ = restored(folder)
    if certificate.digest(tree) != paper["weights"]:
        raise ValueError(f"{folder}: the weights are not those that the certificate is of")
    made = paper["outputs"]
    inputs = {k.partition("_")[2]: tuple(o["input"]) for k, o in made.items()}
    found = certificate.outputs(config["method"]["model"], tree, inputs)
    if odd := certificate.differing(found, made):
        raise ValueError(f"{folder}: {', '.join(odd)} make other outputs than the certificate says")
    print(f"{folder}: weights and outputs are those of the certificate")


def write(path, value):
    path.write_text(json.dumps(value, indent=2))


if __name__ == "__main__":
    main()
