"""Types shared by all of avjax: signatures and shapes, no code.

As in Optax, every part is a named tuple of pure functions: `init` creates the state, the other
functions take the state and return the updated state.  No part stores state of its own.
"""

from typing import Any, Callable, NamedTuple

import flax.struct
import jax
import optax

Array = jax.Array
Tree = Any  # A pytree of arrays, mostly nested dicts.
Metrics = dict[str, Array]  # Name -> scalar.

# One batch.  A method reads only the keys it needs; B is the global batch.
#
#   video       uint8   [B, T, H, W, 3]   sRGB frames; normalized on the device
#   augment     float32 [B, 16]           augmentation still to be applied to the frames:
#                                         data.transforms.augment_params.AugmentParams;
#                                         absent if it has been applied
#   audio       int16   [B, N]            waveform at the config's rate; spectrograms
#                                         are made on the device
#   shifted     int16   [B, N]            audio of another time, not overlapping the clip's own
#   overlapping int16   [B, N]            the same, overlapping the clip's own
#   image_features, audio_features        of whole videos of up to N clips: descriptors of the
#               float32 [B, N, D]         clips, in order of time
#   valid_clips bool    [B, N]            False for padding after the last clip of a video
#   index       int32   [B]               row of the example in its source
#   label       int32   [B]               class, -1 if the source has none
#   has_audio   bool    [B]               False if the file has no audio
#   mask        bool    [B]               False for padding of a last batch and for
#                                         unreadable files
Batch = dict[str, Array]


class NotApplicable(ValueError):
    """The records do not allow a score, e.g. too few or no labels; the score is left out."""


class Inherited(NamedTuple):
    """How a part of the state starts in a run that is initialized from another run.

    Without `paths` the part is restored from the same path of the other run if the shapes are
    equal.  With `paths` only the named parts are restored.

    Attributes:
      copy: path of the new state, e.g. "params"; a part that is not restored becomes a copy of this
        one, after its restoration.  "" for none.
      records: the part has one row per training record and is restored only from a run on the same
        records.
      required: one sentence for the error: why the method needs the part, and how to get it.  A run
        without `paths` is refused if the part is not restored.  "" if it may be new.
    """

    copy: str = ""
    records: bool = False
    required: str = ""


class Method(NamedTuple):
    """A training method (one paper) as a few pure functions.

    Attributes:
      init: (rng, batch, size) -> (params, state).  `batch` has real examples, from which front ends
        estimate their statistics; `size` is the number of records of the training source.
      loss: (params, state, batch, rng) -> (loss, (state, metrics)).
      embed: (params, state, batch) -> {modality: {"features", "embedding"}}, in evaluation mode.
        Evaluators see nothing else of a method.
      refresh: (params, state, rng, extracted) -> (params, state), called before the first step and
        every config.refresh_every steps; None for no refresh.
      extract: (params, state, batch) -> tree of [B, ...]; None if `refresh` needs nothing.  Before
        each refresh it is called on every record of config.data.refresh, or else of the training
        source.  `refresh` gets the results by row, [N, ...], padded to a multiple of the devices,
        and "mask" [N], False for rows without a result.
      needs_audio: whether the loss uses the audio of every clip.  If True, training replaces
        records without audio and counts them as unreadable, unless data.train.skip_no_audio is set.
        If False, their clips reach the loss with has_audio False and silence as audio.
      inherits: {path: Inherited} for paths such as "state/memory"; None for no such part.  params
        and state["stats"] (the nets) are always restored from a run given without `paths`.
      inherited_nets: names of the parts of params and of each collection of state["stats"] that
        are restored, e.g. "encoders_video"; the others stay new.  None for all.
    """

    init: Callable[[Array, Batch, int], tuple[Tree, Tree]]
    loss: Callable[[Tree, Tree, Batch, Array], tuple[Array, tuple[Tree, Metrics]]]
    embed: Callable[[Tree, Tree, Batch], dict[str, dict[str, Array]]]
    refresh: Callable[[Tree, Tree, Array, Tree], tuple[Tree, Tree]] | None = None
    extract: Callable[[Tree, Tree, Batch], dict[str, Tree]] | None = None
    needs_audio: bool = True
    inherits: dict[str, Inherited] | None = None
    inherited_nets: tuple[str, ...] | None = None


class ContrastiveLoss(NamedTuple):
    """A contrastive loss as a reduction over the scores of the negatives.

    The negatives may arrive in parts: the whole batch at once, tile by tile, or device by device
    around a ring.  Scores are query x key / temperature + bias.

    Attributes:
      accumulate: (scores [B, K], mask [B, K], positive [B], axis=1) -> total [B]; or a tuple, of
        which only the first total has a gradient.  With axis 0 scores and mask are [K, B]: sums of
        columns are several times as fast as sums of the rows of a transposed matrix.
      merge: (total [B], total [B]) -> total [B]; associative.
      finalize: (positive [B], total [B]) -> loss [B].
      score_grad: (score, total, positive) -> d total / d score, element-wise: the gradient of
        `accumulate`, for sources that recompute the scores instead of storing them.
      bias: added to every score by the source of negatives; a number or a learned scalar.
      resolve: (settings of the method, batch) -> the loss with them, for a loss that depends on
        them, see `contrastive.resolve`; None for other losses.
    """

    accumulate: Callable[..., Any]
    merge: Callable[[Array, Array], Array]
    finalize: Callable[[Array, Array], Array]
    score_grad: Callable[[Array, Array, Array], Array]
    bias: Array | float
    resolve: Callable[[dict, Batch], Any] | None = None


class Negatives(NamedTuple):
    """Where the keys of a contrastive loss come from, for one modality.

    Attributes:
      init: (rng, size, dim) -> memory for `size` records; an empty tuple if there is none.
      loss: (memory, query [B, D], key [B, D], index [B], rng, loss_fn) -> loss [B].  The query
        is already divided by the temperature.
      update: (memory, key [B, D], index [B]) -> memory.
      symmetric_loss: (query [B, D], key [B, D], index [B], rng, loss_fn) -> (loss [B], loss [B]),
        of the queries, and of the keys as queries, from the same scores; None for sources with a
        memory.
      num_negatives: negatives per query; None for all other records of the batch.
    """

    init: Callable[[Array, int, int], Tree]
    loss: Callable[[Tree, Array, Array, Array, Array, ContrastiveLoss], Array]
    update: Callable[[Tree, Array, Array], Tree]
    symmetric_loss: (
        Callable[[Array, Array, Array, Array, ContrastiveLoss], tuple[Array, Array]] | None
    ) = None
    num_negatives: int | None = None


@flax.struct.dataclass
class TrainState:
    """Everything that a run saves to resume exactly."""

    step: Array  # int32 scalar.
    rng: Array  # The run's key; step n uses fold_in(rng, n).
    params: Tree  # What the optimizer updates.
    opt: optax.OptState
    state: Tree  # Everything else: batch statistics, memories, teachers.


# (embed, train_state) -> {name: value}.  Scalars are logged; arrays are saved in the run's folder.
# `embed(train_state, batch)` takes a host's NumPy batch and returns NumPy arrays of the global
# batch: {modality: {"features": [B, H], "embedding": [B, D], "mask": [B]}, "index": [B],
# "label": [B], "mask": [B]}.  "mask" is False for padding and unreadable files; a modality's own
# mask, which may be left out, also where a record lacks the modality.
Evaluator = Callable[[Callable, TrainState], dict]
