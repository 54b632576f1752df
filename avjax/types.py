"""The shapes that pass between the floors of avjax: small types, no code.

Every part is a named tuple of pure functions, as in Optax: `init` makes the
state, the other functions take it and return what becomes of it.  Nothing in
the library keeps state of its own.
"""

from typing import Any, Callable, NamedTuple

import flax.struct
import jax
import optax

Array = jax.Array
Tree = Any  # A pytree of arrays: nested dicts, mostly.
Metrics = dict[str, Array]  # Name -> scalar.

# One batch.  A method reads only the keys it needs; B is the global batch.
#
#   video       uint8   [B, T, H, W, 3]   sRGB frames; normalized on the device
#   augment     float32 [B, 16]           what shall be done to the frames first, a
#                                         data.transforms.video.Draw; absent where it has been
#   audio       int16   [B, N]            waveform at the config's rate; spectrograms
#                                         are made on the device
#   shifted     int16   [B, N]            the clip's sound at another time, apart from its own
#   overlapping int16   [B, N]            the same, overlapping its own
#   index       int32   [B]               row of the example in its source
#   label       int32   [B]               class, -1 where the source has none
#   has_audio   bool    [B]               False where the file has no sound
#   mask        bool    [B]               False on the padding of a last batch and
#                                         on files that could not be read
Batch = dict[str, Array]


class NotApplicable(ValueError):
    """The records do not allow a score: too few, or without labels.  The score is left out."""


class Inherited(NamedTuple):
    """How a part of the state begins in a run that `config.init_from` starts from another run.

    Without `paths` it is taken from the same path of that run, if that has it in the same shapes.
    With `paths`, only these are taken.

    copy:     path of the new state, e.g. "params": where it is not taken, it becomes a copy of
              this, as taken.  "" for none.
    records:  it has a row for each training record, and is taken of a run on the same records only.
    required: one sentence for an error: what the method needs it for and how to get it.  A run
              without `paths` is refused if it is not taken.  "" where it may be new.
    """

    copy: str = ""
    records: bool = False
    required: str = ""


class Method(NamedTuple):
    """One way of learning: the whole of a paper, as a few pure functions.

    init:    (rng, batch, size) -> (params, state).  `batch` holds real examples, so
             that a front end can estimate its statistics from them; `size` is the
             number of examples in the training source.
    loss:    (params, state, batch, rng) -> (loss, (state, metrics)).
    embed:   (params, state, batch) -> {modality: {"features", "embedding"}}, in
             evaluation mode: all that evaluators see of a method.
    refresh: (params, state, rng, survey) -> (params, state), before the first step and
             every config.refresh_every steps, or None.
    survey:  (params, state, batch) -> tree of [B, ...], or None.  Before a refresh it is
             asked of every record of config.data.survey, or else of the training
             source; `refresh` gets the answers by row, [N, ...], padded to a multiple
             of the devices, beside "mask" [N], False where there is none.
    needs_audio: whether the loss uses the sound of every clip.  If so, training replaces records
             without sound and counts them as broken, unless data.train.skip_no_audio is set.  If
             not, their clips reach the loss with has_audio False and silence for audio.
    inherits: {path: how it begins in a run that starts from another}, paths as "state/memory".
             Of a run without `paths`, params and state["stats"] are always taken: the nets.  None
             where there is nothing else.
    """

    init: Callable[[Array, Batch, int], tuple[Tree, Tree]]
    loss: Callable[[Tree, Tree, Batch, Array], tuple[Array, tuple[Tree, Metrics]]]
    embed: Callable[[Tree, Tree, Batch], dict[str, dict[str, Array]]]
    refresh: Callable[[Tree, Tree, Array, Tree], tuple[Tree, Tree]] | None = None
    survey: Callable[[Tree, Tree, Batch], dict[str, Tree]] | None = None
    needs_audio: bool = True
    inherits: dict[str, Inherited] | None = None


class Contrast(NamedTuple):
    """A contrastive loss, as a fold over the scores of the negatives.

    The negatives may so arrive in parts: the whole batch at once, tile by tile, or device
    by device around a ring.  Scores are query x key / temperature + bias.

    fold:   (scores [B, K], mask [B, K], positive [B]) -> total [B].
    merge:  (total [B], total [B]) -> total [B]; associative.
    finish: (positive [B], total [B]) -> loss [B].
    slope:  (score, total) -> d total / d score, element by element: what autodiff finds for
            `fold`, for those who make the scores anew rather than keep them.
    bias:   added to every score by the source of negatives; a number or a learned scalar.  Where
            it depends on the method's other values, a function that `contrastive.resolve` calls.
    """

    fold: Callable[[Array, Array, Array], Array]
    merge: Callable[[Array, Array], Array]
    finish: Callable[[Array, Array], Array]
    slope: Callable[[Array, Array], Array]
    bias: Array | float | Callable[[dict], float]


class Negatives(NamedTuple):
    """Where the keys of a contrastive loss come from, for one modality.

    init:   (rng, size, dim) -> memory.  An empty tuple when there is none.
    reduce: (memory, query [B, D], key [B, D], index [B], rng, contrast)
            -> loss [B].  The query is already divided by the temperature.
    update: (memory, key [B, D], index [B]) -> memory.
    pair:   (query [B, D], key [B, D], index [B], rng, contrast) -> (loss [B], loss [B]), of
            the queries and of the keys as queries, from the same scores; None where a memory
            stands between the two.
    draws:  number of negatives of a query; None for all other records of the batch.
    """

    init: Callable[[Array, int, int], Tree]
    reduce: Callable[[Tree, Array, Array, Array, Array, Contrast], Array]
    update: Callable[[Tree, Array, Array], Tree]
    pair: Callable[[Array, Array, Array, Array, Contrast], tuple[Array, Array]] | None = None
    draws: int | None = None


@flax.struct.dataclass
class TrainState:
    """All that a run must save to go on as if it had not stopped."""

    step: Array  # int32 scalar.
    rng: Array  # The run's key; step n uses fold_in(rng, n).
    params: Tree  # What the optimizer moves.
    opt: optax.OptState
    state: Tree  # What it does not: batch statistics, memories, teachers.


# (embed, train_state) -> {name: value}.  Scalars are logged; arrays are saved beside
# the run.  `embed(train_state, batch)` takes a host's NumPy batch and returns NumPy
# arrays of the global batch: {modality: {"features": [B, H], "embedding": [B, D], "mask": [B]},
# "index": [B], "label": [B], "mask": [B]}.  "mask" is False on padding and on files that could
# not be read; a modality's own one, which may be left out, also where a record lacks it.
Evaluator = Callable[[Callable, TrainState], dict]
