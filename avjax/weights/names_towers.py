"""PyTorch names of all arrays of a net or of towers: {our path: (their name, layout)}."""

from avjax.config.build import build
from avjax.weights import names_video
from avjax.weights.names_audio import Names


def of(spec: dict) -> Names:
    """Names the arrays of the net that a config's spec builds.

    Args:
      spec: dict(fn=...).

    Raises:
      ValueError: no names are known for the net.
    """
    return names_video.torch_names(build(spec))


def of_towers(model: dict, parts: dict) -> Names:
    """Names the arrays of the encoders and heads of a Towers' spec.

    Args:
      model: the spec.
      parts: {our subtree, "encoders_video": (prefix of their names, layout of their kernels)};
        missing subtrees have no arrays.
    """
    found = {}
    for group in ("encoders", "heads"):
        for modality, spec in model[group].items():
            where = f"{group}_{modality}"
            prefix, kernels = parts.get(where, ("", "conv"))
            for path, (name, layout) in of(spec).items():
                collection, _, rest = path.partition("/")
                layout = kernels if layout == "conv" else layout
                found[f"{collection}/{where}/{rest}"] = prefix + name, layout
    return found
