"""PyTorch names of all arrays of a net or of towers: {our path: (their name, layout)}."""

from collections.abc import Sequence

from avjax.config.build import build
from avjax.weights import names_video
from avjax.weights.names_audio import Names


def of(spec: dict, path: str = "config", trust: Sequence[str] = ()) -> Names:
    """Names the arrays of the net that a config's spec builds.

    Args:
      spec: dict(fn=...).
      path: its dotted key, for messages.
      trust: packages that the spec may name, see `config.build`.

    Raises:
      ValueError: no names are known for the net.
    """
    return names_video.torch_names(build(spec, path, trust))


def of_towers(model: dict, parts: dict, trust: Sequence[str] = ()) -> Names:
    """Names the arrays of the encoders and heads of a Towers' spec.

    Args:
      model: the spec.
      parts: {our subtree, "encoders_video": (prefix of their names, layout of their kernels)};
        missing subtrees have no arrays.
      trust: packages that the spec may name, see `config.build`.
    """
    found = {}
    for group in ("encoders", "heads"):
        for modality, spec in model[group].items():
            where = f"{group}_{modality}"
            prefix, kernels = parts.get(where, ("", "conv"))
            key = f"config.method.model.{group}.{modality}"
            for path, (name, layout) in of(spec, key, trust).items():
                collection, _, rest = path.partition("/")
                layout = kernels if layout == "conv" else layout
                found[f"{collection}/{where}/{rest}"] = prefix + name, layout
    return found
