"""Where published weights come from: what their files hold, and which nets of ours they are.

A source reads the contents of a file and says which config has that net.  A net's sizes are read
off the arrays, so that an own run of the reference program is as welcome as the released one.
"""

import math
from typing import Any, Callable, NamedTuple

import numpy as np

from avjax.negatives import SHARES
from avjax.nets import audio_names
from avjax.nets.r2plus1d import BLOCKS
from avjax.ported import names
from avjax.ported.convert import listed, plain


class Weights(NamedTuple):
    """What a source makes of a file.

    state:  {their name: array}.
    parts:  {our subtree, "encoders_video": (their prefix, {our path: (their name, layout)})}.
    model:  the spec of the Towers that these weights are of.
    clip:   what the net was trained to see: arguments of `avjax.data.clips.even`, and "size" of
            the pictures.
    inputs: {modality: shape} of what its encoders are tried with.
    extras: what else a run's `state` holds: memories, positive sets.
    left:   regular expressions of names that are not taken.
    notes:  what a certificate says beside: numbers and sentences.
    """

    state: dict[str, np.ndarray]
    parts: dict[str, tuple[str, dict]]
    model: dict
    clip: dict
    inputs: dict[str, tuple]
    extras: dict[str, Any] = {}
    left: tuple[str, ...] = ()
    notes: dict[str, Any] = {}


class Source(NamedTuple):
    """Whose weights: a file's contents -> Weights."""

    home: str
    licence: str
    read: Callable[[Any], Weights]


def avid(contents) -> Weights:
    """A checkpoint of AVID or AVID-CMA: {"model", "train_criterion", "optimizer", "epoch"}.

    The memories belong to the videos of its training set in the order of its list: graft them
    only into a run of the same list.  Z is what AVID measured on its first batch.
    """
    if type(contents) is dict and "model" not in contents:
        contents = {"model": contents}  # The nets alone.
    state = plain(part(contents, "model"))
    video = "video_model.", names.r2plus1d(depth := _depth(state))
    audio = "audio_model.", audio_names.conv2d()
    heads = {m: _widths(state, f"{m}_proj.") for m in ("video", "audio")}
    width = part(state, "video_model.conv1.0.weight").shape[0]
    sound = part(state, "audio_model.conv1.0.weight").shape[0]
    model = dict(
        fn="avjax.nets.towers.Towers",
        fronts=dict(
            video=dict(fn="avjax.nets.pixels.Normalize"),
            audio=dict(fn="avjax.nets.sound.Spectrogram"),
        ),
        encoders=dict(
            video=dict(fn="avjax.nets.r2plus1d.R2Plus1D", depth=depth, width=width),
            audio=dict(fn="avjax.nets.audio2d.Conv2D", width=sound),
        ),
        heads={m: dict(fn="avjax.nets.heads.Mlp", widths=w) for m, w in heads.items()},
    )
    parts = {"encoders_video": video, "encoders_audio": audio}
    parts |= {f"heads_{m}": (f"{m}_proj.", names.mlp(w)) for m, w in heads.items()}
    extras, notes = _criterion(contents.get("train_criterion") or {})
    notes |= {"epoch": contents["epoch"]} if "epoch" in contents else {}
    clip = dict(frames=8, fps=16.0, seconds=2.0, rate=24_000, count=10, size=224)
    inputs = {"video": (1, 8, 64, 64, 3), "audio": (1, 100, 129)}
    return Weights(state, parts, model, clip, inputs, extras, notes=notes)


def panns(contents) -> Weights:
    """CNN14 of PANNs, of any embedding: {"model", "iteration"}; AudioSet's head is left out."""
    state = plain(part(contents, "model"))
    encoder = dict(fn="avjax.nets.cnn14.Cnn14", embedding=part(state, "fc1.weight").shape[0],
                   width=part(state, "conv_block1.conv1.weight").shape[0])  # fmt: skip
    left = (r"fc_audioset\..*", r"spectrogram_extractor\..*", r"logmel_extractor\..*")
    return Weights(
        state,
        {"encoders_audio": ("", names.of(encoder))},
        towers(audio=(dict(fn="avjax.nets.logmel.PANNs"), encoder)),
        dict(frames=0, fps=1.0, seconds=10.0, rate=32_000, count=1),
        {"audio": (1, 100, 64)},
        left=left,
    )


def towers(**nets) -> dict:
    """Towers of {modality: (front, encoder)} without heads: an embedding is the features."""
    return dict(
        fn="avjax.nets.towers.Towers",
        fronts={m: front for m, (front, _) in nets.items()},
        encoders={m: encoder for m, (_, encoder) in nets.items()},
        heads={m: dict(fn="avjax.nets.heads.Mlp", widths=()) for m in nets},
    )


def _criterion(state):
    """(extras, notes) of AVID's criterion: both memories, Z, and the positive sets of CMA."""
    state = plain(state)
    extras, notes, known = {}, {}, set()
    rows = {m: f"nce_average.view{n}_mem" for n, m in ((1, "video"), (2, "audio"))}
    if any(name in state for name in rows.values()):
        extras["memory"] = {m: _bank(part(state, name)) for m, name in rows.items()}
        sizes = {m: int(bank["size"]) for m, bank in extras["memory"].items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"the memories are of different sets: {sizes} rows")
        notes["memory_rows"] = sizes["video"]
        known |= set(rows.values())
    scores = [name for name in state if name.endswith("avg_exp_score")]
    if scores:
        z = float(np.mean([np.asarray(state[name], np.float64) for name in scores]))
        if z > 0:  # -1 stands for "not measured yet".
            extras["z"], notes["Z"] = np.float32(z), z
    near = [name for name in state if name.endswith("positive_set")]
    for name in near:
        extras["near"] = np.asarray(state[name], np.int32)
    if spare := sorted(state.keys() - known - {*scores, *near}):
        raise ValueError(f"the criterion holds {listed(spare)}, which AVID's do not")
    return extras, notes


def _bank(rows):
    """AVID's memory [N, D] as one of `avjax.negatives.bank`."""
    if rows.ndim != 2 or rows.dtype.kind != "f" or not len(rows):
        raise ValueError(f"a memory is of shape {rows.shape}, not [N, D]")
    whole = np.zeros((math.ceil(len(rows) / SHARES) * SHARES, rows.shape[1]), np.float32)
    whole[: len(rows)] = rows
    return {"rows": whole, "size": np.int32(len(rows))}


def _depth(state):
    """The depth of AVID's video net, from how many blocks it has."""
    counts = tuple(
        sum(f"video_model.conv{s}x.{i}.out_bn.weight" in state for i in range(10))
        for s in (2, 3, 4, 5)
    )
    for depth, blocks in BLOCKS.items():
        if blocks == counts:
            return depth
    raise ValueError(
        f"this is no model of AVID: stages of {counts} blocks (video_model.conv2x and so on); "
        f"it holds {listed(state, 6)}"
    )


def _widths(state, prefix):
    """The widths of a head's layers."""
    found, n = [], 0
    while (name := f"{prefix}projection.{n}.weight") in state:
        found.append(state[name].shape[0])
        n += 2
    return tuple(found)


def part(contents, name):
    """contents[name]; ValueError if there is no such thing."""
    if type(contents) is not dict or name not in contents:
        has = listed(contents, 6) if type(contents) is dict else type(contents).__name__
        raise ValueError(f"it lacks {name!r}: it holds {has}")
    return contents[name]


SOURCES = {
    "avid": Source("https://github.com/facebookresearch/AVID-CMA", "CC BY-NC 4.0", avid),
    "avid-cma": Source("https://github.com/facebookresearch/AVID-CMA", "CC BY-NC 4.0", avid),
    "panns": Source(
        "https://github.com/qiuqiangkong/audioset_tagging_cnn",
        "MIT (the code; its Zenodo record has the weights')",
        panns,
    ),
}
