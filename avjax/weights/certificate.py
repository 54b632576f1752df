"""Certificate of ported weights: origin, file hash, and the nets' outputs for a fixed input.

Outputs are of a fixed input in evaluation mode.  They are compared within a tolerance, not by a
checksum: the last digits differ between devices.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from avjax.config.build import build
from avjax.runtime.regular_files import check_regular
from avjax.weights.convert import flatten

TOLERANCE = 1e-3  # Of the largest output.
SHOWN = 16


def shapes(model: dict, inputs: dict[str, tuple]) -> dict[str, tuple]:
    """{our path: shape} of all parameters and statistics of the encoders and heads of `model`.

    Args:
      model: the spec of Towers.
      inputs: {modality: shape of an encoder's input}.
    """
    found = {}
    for modality, (encoder, head) in nets(model).items():
        x = jax.ShapeDtypeStruct(inputs[modality], np.float32)
        for where, net in ((f"encoders_{modality}", encoder), (f"heads_{modality}", head)):
            x, tree = jax.eval_shape(
                lambda x, net=net: net.init_with_output(jax.random.key(0), x, train=False), x
            )
            found |= {_into(path, where): leaf.shape for path, leaf in flatten(tree).items()}
    return found


def outputs(
    model: dict, tree: dict, inputs: dict[str, tuple], trust: Sequence[str] = ()
) -> dict[str, dict]:
    """Summarizes each encoder's and head's output for input drawn by RandomState(0).

    Args:
      model: the spec of Towers.
      tree: {collection: {net: arrays}}, its variables.
      inputs: {modality: shape of an encoder's input}.
      trust: packages that the spec may name, see `config.build`.

    Returns:
      {net: {"input", "shape", "mean", "largest", "first"}}.

    Raises:
      ValueError: an output is not finite.
    """
    found = {}
    for modality, (encoder, head) in nets(model, trust).items():
        x = np.random.RandomState(0).standard_normal(inputs[modality]).astype(np.float32)
        for where, net in ((f"encoders_{modality}", encoder), (f"heads_{modality}", head)):
            variables = {c: tree[c][where] for c in tree if where in tree[c]}
            x = jax.jit(lambda v, x, net=net: net.apply(v, x, train=False))(variables, x)
            y = np.asarray(x, np.float64)
            if not np.isfinite(y).all():
                raise ValueError(f"{where} is not finite for a random input")
            found[where] = {
                "input": list(inputs[modality]),
                "shape": list(y.shape),
                "mean": y.mean(),
                "largest": np.abs(y).max(),
                "first": y.ravel()[:SHOWN].tolist(),
            }
    return found


def differing(one: dict, other: dict) -> list[str]:
    """Returns the names of the nets whose outputs differ between two certificates.

    Args:
      one, other: as `outputs` returns them.
    """
    return [name for name in one.keys() | other.keys() if not _same(one.get(name), other.get(name))]


def _same(one, other):
    if not one or not other or one["shape"] != other["shape"]:
        return False
    numbers = [np.array([o["mean"], o["largest"], *o["first"]]) for o in (one, other)]
    return np.abs(numbers[0] - numbers[1]).max() <= TOLERANCE * max(one["largest"], 1e-6)


def sha256(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of a file as hexadecimal digits."""
    check_regular(path)
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(tree: dict) -> str:
    """Returns the SHA-256 of all arrays of a tree: names, types, shapes and bytes."""
    total = hashlib.sha256()
    for path, leaf in sorted(flatten(tree).items()):
        a = np.ascontiguousarray(leaf)
        total.update(f"{path} {a.dtype} {a.shape}\n".encode())
        total.update(a.tobytes())
    return total.hexdigest()


def nets(model: dict, trust: Sequence[str] = ()) -> dict[str, tuple]:
    """Builds the nets of a Towers' spec.

    Args:
      model: the spec.
      trust: packages that the spec may name, see `config.build`.

    Returns:
      {modality: (encoder, head)}.
    """
    spec = {part: model[part] for part in ("encoders", "heads")}
    built = build(spec, "config.method.model", trust)
    return {m: (encoder, built["heads"][m]) for m, encoder in built["encoders"].items()}


def _into(path, where):
    collection, _, rest = path.partition("/")
    return f"{collection}/{where}/{rest}"
