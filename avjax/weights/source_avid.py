"""AVID and AVID-CMA checkpoints: both nets and heads, both memories, Z and the positive sets."""

import math
from typing import Any

import numpy as np

from avjax.losses.memory_bank import ROW_MULTIPLE
from avjax.nets.video import avid_r2plus1d
from avjax.weights.convert import join_names, plain_state_dict
from avjax.weights.imported import Weights, infer_depth, require_key

# AVID's names of encoder and head, after the modality; also used in our own files.
ENDS = {"encoders": "model", "heads": "proj"}


def read(contents: Any) -> Weights:
    """Reads a checkpoint of AVID or AVID-CMA: {"model", "train_criterion", "optimizer", "epoch"}.

    The memories belong to the videos of its training set in the order of its list; initialize only
    runs on the same list from them.  Z is what AVID measured on its first batch.

    Args:
      contents: of the file.

    Raises:
      ValueError: it is not such a checkpoint.
    """
    if type(contents) is dict and "model" not in contents:
        contents = {"model": contents}  # The nets alone.
    state = plain_state_dict(require_key(contents, "model"))
    video = dict(fn="avjax.nets.video.avid_r2plus1d.R2Plus1D", depth=_depth(state),
                 width=require_key(state, "video_model.conv1.0.weight").shape[0])  # fmt: skip
    audio = dict(fn="avjax.nets.audio.avid_convnet.AudioConvNet",
                 width=require_key(state, "audio_model.conv1.0.weight").shape[0])  # fmt: skip
    heads = {m: _head(state, f"{m}_proj.") for m in ("video", "audio")}
    model = dict(
        fn="avjax.nets.towers.Towers",
        frontends=dict(
            video=dict(fn="avjax.nets.frontends.pixels.Normalize"),
            audio=dict(fn="avjax.nets.frontends.spectrogram.Spectrogram"),
        ),
        encoders=dict(video=video, audio=audio),
        heads=heads,
    )
    parts = {f"{g}_{m}": (f"{m}_{end}.", "conv") for m in heads for g, end in ENDS.items()}
    extras, notes = _criterion(contents.get("train_criterion") or {})
    notes |= {"epoch": contents["epoch"]} if "epoch" in contents else {}
    clip = dict(
        num_frames=8, fps=16.0, audio_seconds=2.0, sample_rate=24_000, num_clips=10, size=224
    )
    inputs = {"video": (1, 8, 64, 64, 3), "audio": (1, 100, 129)}
    return Weights(state, parts, model, clip, inputs, extras, notes=notes)


def _criterion(state):
    """(extras, notes) of AVID's criterion: both memories, Z, and the positive sets of CMA."""
    state = plain_state_dict(state)
    extras, notes, known = {}, {}, set()
    rows = {m: f"nce_average.view{n}_mem" for n, m in ((1, "video"), (2, "audio"))}
    if any(name in state for name in rows.values()):
        extras["memory"] = {m: _bank(require_key(state, name)) for m, name in rows.items()}
        sizes = {m: int(bank["size"]) for m, bank in extras["memory"].items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"the memories have different numbers of rows: {sizes}")
        notes["memory_rows"] = sizes["video"]
        known |= set(rows.values())
    scores = [name for name in state if name.endswith("avg_exp_score")]
    if scores:
        z = float(np.mean([np.asarray(state[name], np.float64) for name in scores]))
        if z > 0:  # -1 stands for "not measured yet".
            extras["z"], notes["Z"] = np.float32(z), z
    positive_sets = [name for name in state if name.endswith("positive_set")]
    for name in positive_sets:
        extras["positive_rows"] = np.asarray(state[name], np.int32)
    if unknown := sorted(state.keys() - known - {*scores, *positive_sets}):
        raise ValueError(f"the criterion has {join_names(unknown)}, which AVID's does not have")
    return extras, notes


def _bank(rows):
    """AVID's memory [N, D] as one of `avjax.losses.memory_bank`."""
    if rows.ndim != 2 or rows.dtype.kind != "f" or not len(rows):
        raise ValueError(f"a memory is of shape {rows.shape}, not [N, D]")
    whole = np.zeros(
        (math.ceil(len(rows) / ROW_MULTIPLE) * ROW_MULTIPLE, rows.shape[1]), np.float32
    )
    whole[: len(rows)] = rows
    return {"rows": whole, "size": np.int32(len(rows))}


def _depth(state):
    """Depth of AVID's video net from its blocks; a stage with one block has no number."""
    if "video_model.conv5x.out_bn.weight" in state:
        return 10
    counts = tuple(
        sum(f"video_model.conv{s}x.{i}.out_bn.weight" in state for i in range(10))
        for s in (2, 3, 4, 5)
    )
    return infer_depth(avid_r2plus1d.BLOCKS, counts, state)


def _head(state, prefix):
    """An Mlp, as wide as the layers of AVID's head."""
    found, n = [], 0
    while (name := f"{prefix}projection.{n}.weight") in state:
        found.append(state[name].shape[0])
        n += 2
    return dict(fn="avjax.nets.layers.mlp.Mlp", widths=tuple(found))
