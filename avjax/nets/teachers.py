"""Frozen teachers: nets of ours with the weights of another run, or vectors of the batch.

No optimizer sees their weights, which are in the state of a method; nets are in evaluation mode.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from avjax.config import ranges
from avjax.nets.forward import forward, init_model
from avjax.nets.layers.mlp import Linear
from avjax.types import Array, Batch, Inherited, Tree

# Why a run needs another run for a teacher `name`, and how it gets it.
REQUIRED = (
    "A teacher needs trained weights: name the run of each teacher, of any method or of "
    'avjax.port, e.g. config.init_from=(dict(folder=RUN, paths={{"state/teachers/{name}/params": '
    '"params", "state/teachers/{name}/stats": "state/stats"}}),)'
)


class Teacher(NamedTuple):
    """A frozen teacher.

    Attributes:
      init: (rng, batch) -> state: its weights and statistics; an empty tuple if it has none.
      apply: (state, batch, rng) -> {"features": float [B, H]; "valid": bool [B], False for clips
        that it knows nothing of; optionally "logits": float [B, C]}.
      needs_audio: whether it uses the audio of clips.
    """

    init: Callable[[Array, Batch], Tree]
    apply: Callable[[Tree, Batch, Array], dict[str, Array]]
    needs_audio: bool


def net(model: Any, num_classes: int | None = None) -> Teacher:
    """A net on the clips of a batch.  Clips without audio are not valid if it is one of audio.

    Args:
      model: towers with one encoder, as in the run that has its weights.
      num_classes: if given, the classifier of a run of `avjax.methods.classify` gives logits.

    Raises:
      ValueError: an argument is out of its range.
    """
    return _of_net(model, num_classes, lambda batch, rng: batch)


def frame_net(model: Any, num_classes: int | None = None, size: int | None = None) -> Teacher:
    """A net on one frame of the clips, at a random position that is the same for the batch.

    Args:
      model: towers with the one encoder "video", of clips of one frame.
      num_classes: as in `net`.
      size: pixels of each side, to which frames are resized; None for those of the clips.

    Raises:
      ValueError: an argument is out of its range.
    """
    # Paper: CCL's default is the frame as the student sees it, 112 x 112; other sizes are
    # interpolated to the nearest pixel there, bilinearly here.
    if size is not None:
        ranges.check_integer("size", size)

    def one_frame(batch, rng):
        video = batch["video"]
        at = jax.random.randint(rng, (), 0, video.shape[1])
        frame = jax.lax.dynamic_slice_in_dim(video, at, 1, axis=1)
        if size is not None:
            shape = (*frame.shape[:2], size, size, frame.shape[-1])
            frame = jax.image.resize(frame.astype(jnp.float32), shape, "bilinear")
        return batch | {"video": frame}

    return _of_net(model, num_classes, one_frame)


def column(features: str, logits: str | None = None) -> Teacher:
    """Vectors that were computed before and are read beside the clips.

    Args:
      features: key of the batch, float [B, H]; a row of zeros is not valid.
      logits: key of the batch, float [B, C].
    """

    def apply(state, batch, rng):
        for key in (features, *([logits] if logits else [])):
            if key not in batch:
                raise ValueError(f"the teacher reads {key!r}, and the batch has {sorted(batch)}")
        x = batch[features]
        out = {"features": x, "valid": (x != 0).any(1)}
        return out | ({"logits": batch[logits]} if logits else {})

    return Teacher(lambda rng, batch: (), apply, needs_audio=False)


def init_all(teachers: Mapping[str, Teacher], rng: Array, batch: Batch) -> tuple[Tree, Tree]:
    """Initializes teachers.

    Args:
      teachers: {name: teacher}.
      rng: a key.
      batch: a batch.

    Returns:
      ({name: state}, {name: outputs}).
    """
    rngs = dict(zip(teachers, jax.random.split(rng, max(len(teachers), 1))))
    state = {name: teacher.init(rngs[name], batch) for name, teacher in teachers.items()}
    return state, apply_all(teachers, state, batch, rng)


def apply_all(
    teachers: Mapping[str, Teacher], state: Tree, batch: Batch, rng: Array
) -> dict[str, dict[str, Array]]:
    """Returns {name: outputs} of teachers, without gradient; arguments as of `init_all`."""
    rngs = dict(zip(teachers, jax.random.split(rng, max(len(teachers), 1))))
    return jax.lax.stop_gradient(
        {name: t.apply(state[name], batch, rngs[name]) for name, t in teachers.items()}
    )


def inherited(teachers: Mapping[str, Teacher]) -> dict[str, Inherited]:
    """Returns `inherits` of a method whose state has "teachers", see `types.Method`."""
    return {
        f"state/teachers/{name}": Inherited(required=REQUIRED.format(name=name))
        for name in teachers
    }


def _of_net(model, num_classes, inputs_of):
    """A Teacher; inputs_of: (batch, rng) -> the batch that the model gets."""
    if len(model.encoders) != 1:
        raise ValueError(f"a teacher has one encoder, not {', '.join(sorted(model.encoders))}")
    (name,) = model.encoders
    if num_classes is not None:
        ranges.check_integer("num_classes", num_classes, 2)
    classifier: Any = Linear(num_classes or 1)  # Its `apply` gives an array or a pair.

    def init(rng, batch):
        rngs = jax.random.split(rng)
        params, stats, out = init_model(model, rngs[0], inputs_of(batch, rngs[0]))
        if num_classes is not None:
            learned = classifier.init(rngs[1], out[name]["features"], False)["params"]
            params = params | {"classifier": learned}
        return {"params": params, "stats": stats}

    def apply(state, batch, rng):
        params, stats = state["params"], state["stats"]
        x = inputs_of(batch, rng)
        if name not in x:
            raise ValueError(f"the teacher needs {name}, and the batch has {sorted(batch)}")
        out = forward(model, params, stats, x, train=False)[0][name]
        valid = batch["has_audio"] if name == "audio" else jnp.ones(len(batch["index"]), bool)
        logits = {}
        if num_classes is not None:
            logits = {
                "logits": classifier.apply({"params": params["classifier"]}, out["features"], False)
            }
        return {"features": out["features"], "valid": valid} | logits

    return Teacher(init, apply, needs_audio=name == "audio")
