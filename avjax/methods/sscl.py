"""SSCL: self-supervised curriculum learning, in which one modality teaches the other.

Zhang, Xu, Shen, Lu, Liu and Shen, AAAI 2021, https://doi.org/10.1609/aaai.v35i4.16447.  A video net
trained by instance discrimination teaches an audio net, that one teaches the video net, and then
both learn from each other.

This is our interpretation: only the abstract was available, and no code is public.  Losses,
numbers and the order of stages are ours.  Training is a chain, `configs/sscl_kinetics`: a teacher
(`avjax.methods.avid` with the term v2v); `stage_one` with audio as student, then with video, which
starts from that teacher's weights; `stage_two`; and `stage_one` again, any number of times.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from avjax.config import ranges
from avjax.losses import memory_bank, pairs, sampling
from avjax.losses.contrastive import resolve
from avjax.losses.score_metrics import mean_scores, score_statistics
from avjax.nets.forward import forward, init_model, make_embed
from avjax.ops.scores import precise_einsum
from avjax.types import Array, ContrastiveLoss, Inherited, Method, Tree

OTHER = {"video": "audio", "audio": "video"}
TEACHER_REQUIRED = (
    "A student of SSCL needs a trained teacher and its memory: use a run of a student of the same "
    "modality on the same data, or name all parts to restore, as the chain of "
    "configs/sscl_kinetics.py does: config.init_from=dict(folder=RUN, paths={...})"
)


def stage_one(
    model: Any,
    student: str,
    num_negatives: int,
    momentum: float,
    loss_fn: ContrastiveLoss,
    temperature: float,
    keep_fraction: Callable[[Array], Array] | None = None,
    chunks: int = 1,
) -> Method:
    """Stage I: the student finds its clip among the teacher's memories.

    The net of the other modality is the teacher; neither it nor its memory changes.  `params` are
    the student's; `state` has "teacher", that net's parameters, "stats" of both nets and the
    "memory" of both, of which the student's fills.

    Args:
      student: "video" or "audio".
      model, num_negatives, momentum, loss_fn, temperature, keep_fraction, chunks: as in
        `stage_two`.

    Returns:
      A Method that logs "loss/<term>", "score/..." and, with keep_fraction, "curriculum/...".

    Raises:
      ValueError: an argument is out of its range.
    """
    if student not in OTHER:
        raise ValueError(f"student={student!r}: use one of {sorted(OTHER)}")
    ranges.check_number("temperature", temperature, above=0)
    ranges.check_integer("chunks", chunks)
    teacher, bank = OTHER[student], memory_bank.make(num_negatives, momentum)

    def init(rng, batch, size):
        params, state = _init_state(model, bank, rng, batch, size)
        return _params_of(params, student), state | {"teacher": _params_of(params, teacher)}

    def loss(params, state, batch, rng):
        old, of = state["stats"], functools.partial(_inputs_of, batch)
        out, stats = forward(model, params, old, of(student), train=True, chunks=chunks)
        if keep_fraction:  # Easiness depends on the teacher too.
            seen = forward(model, state["teacher"], old, of(teacher), train=False, chunks=chunks)
            out |= seen[0]
        z, index = pairs.embeddings(out), batch["index"]
        memory, term = state["memory"], f"{student[0]}2{teacher[0]}"
        each, scores = _losses_and_scores(
            memory, z, (student,), batch, rng, num_negatives, loss_fn, temperature
        )
        weight, chosen = _curriculum_weights(keep_fraction, state["step"], memory, z, index)
        metrics = {f"loss/{term}": (weight * each[term]).sum()} | scores | chosen
        memory = memory | {student: bank.update(memory[student], z[student], index)}
        state = state | {"stats": stats, "memory": memory, "step": state["step"] + 1}
        return metrics[f"loss/{term}"], (state, metrics)

    def embed(params, state, batch):
        both = state["teacher"] | params
        return forward(model, both, state["stats"], batch, train=False)[0]

    inherits = {
        "state/teacher": Inherited(required=TEACHER_REQUIRED),
        f"state/memory/{teacher}": Inherited(records=True, required=TEACHER_REQUIRED),
        f"state/memory/{student}": Inherited(records=True),
    }
    return Method(init, loss, embed, inherits=inherits)


def stage_two(
    model: Any,
    num_negatives: int,
    momentum: float,
    loss_fn: ContrastiveLoss,
    temperature: float,
    structure_weight: float,
    keep_fraction: Callable[[Array], Array] | None = None,
    chunks: int = 1,
) -> Method:
    """Stage II: each net finds its clip among memories of the other, and both learn.

    Args:
      model: towers.
      num_negatives, momentum: as in `avjax.losses.memory_bank`.
      loss_fn: contrastive loss.
      temperature: divisor of the scores.
      structure_weight: weight of the `divergence` between the similarities of a clip to the sampled
        others in video and in audio.
      keep_fraction: step -> share of a batch that is trained on, the clips most similar to their
        own memories in both modalities, e.g. optax.linear_schedule(0.5, 1.0, 10_000); None for all.
      chunks: parts of a batch that the encoders process in turn.

    Returns:
      A Method that logs "loss/v2a", "loss/a2v", "loss/structure", "score/..." and, with
      keep_fraction, "curriculum/...".

    Raises:
      ValueError: an argument is out of its range.
    """
    bank = memory_bank.make(num_negatives, momentum)
    ranges.check_number("temperature", temperature, above=0)
    ranges.check_number("structure_weight", structure_weight, minimum=0)
    ranges.check_integer("chunks", chunks)

    def init(rng, batch, size):
        return _init_state(model, bank, rng, batch, size)

    def loss(params, state, batch, rng):
        out, stats = forward(model, params, state["stats"], batch, train=True, chunks=chunks)
        z, index = pairs.embeddings(out), batch["index"]
        memory = state["memory"]
        each, scores = _losses_and_scores(
            memory, z, OTHER, batch, rng, num_negatives, loss_fn, temperature
        )
        if structure_weight:
            rows = _sample_rows(memory["video"], index, rng, num_negatives)
            each["structure"] = divergence(z, memory, rows, temperature)
        weight, chosen = _curriculum_weights(keep_fraction, state["step"], memory, z, index)
        metrics = {f"loss/{name}": (weight * x).sum() for name, x in each.items()}
        total = metrics["loss/v2a"] + metrics["loss/a2v"]
        total += structure_weight * metrics.get("loss/structure", 0.0)
        memory = {m: bank.update(memory[m], z[m], index) for m in memory}
        state = {"stats": stats, "memory": memory, "step": state["step"] + 1}
        return total, (state, metrics | scores | chosen)

    memories = {f"state/memory/{m}": Inherited(records=True) for m in OTHER}
    return Method(init, loss, make_embed(model), inherits=memories)


def divergence(
    z: dict[str, Array], memory: dict[str, Tree], rows: Array, temperature: float
) -> Array:
    """KL(video || audio) of the softmax of scores against memories, with gradients to both nets.

    Args:
      z: {modality: float [B, D]}.
      memory: memory of each modality.
      rows: int [B, K].
      temperature: divisor of the scores.

    Returns:
      float [B].
    """

    def place(m):
        scores = precise_einsum(z[m], memory[m]["rows"][rows], "bd,bkd->bk") / temperature
        return jax.nn.log_softmax(scores)

    video, audio = place("video"), place("audio")
    return (jnp.exp(video) * (video - audio)).sum(1)


def memory_similarity(z: dict[str, Array], memory: dict[str, Tree], index: Array) -> Array:
    """Similarity of each clip to its own memory, the lower of the two modalities: float [B].

    Args:
      z, memory: as in `divergence`.
      index: int [B], record of each clip.
    """
    near = [(z[m] * memory[m]["rows"][index]).sum(1) for m in z]
    return functools.reduce(jnp.minimum, near)


def easiest_weights(keep_fraction: float | Array, easiness: Array) -> Array:
    """Weights, float [B] of sum 1: even over the easiest clips of a batch, else 0.

    Args:
      keep_fraction: share of the batch that has a weight, 0 to 1; at least one clip.
      easiness: float [B].
    """
    rank = jnp.argsort(jnp.argsort(-easiness))
    kept = (rank < jnp.maximum(keep_fraction * len(easiness), 1)).astype(jnp.float32)
    return kept / kept.sum()


def _curriculum_weights(keep_fraction, step, memory, z, index):
    """(weight of each example [B], metrics)."""
    if keep_fraction is None:
        return jnp.full(len(index), 1 / len(index)), {}
    part, easiness = keep_fraction(step), jax.lax.stop_gradient(memory_similarity(z, memory, index))
    return easiest_weights(part, easiness), {
        "curriculum/keep_fraction": part,
        "curriculum/memory_similarity": easiness.mean(),
    }


def _losses_and_scores(memory, z, queries, batch, rng, num_negatives, loss_fn, temperature):
    """({"v2a": loss [B]}, mean scores), for each of `queries` against the other's memory."""
    index, each, scores = batch["index"], {}, []
    used = dict(
        num_negatives=("config.method", num_negatives),
        dim=("config.method.model", next(iter(z.values())).shape[1]),
        temperature=("config.method", temperature),
    )
    loss_fn = resolve(loss_fn, batch, **used)
    for m in queries:
        other = memory[OTHER[m]]
        rows = _sample_rows(other, index, rng, num_negatives)
        among = functools.partial(
            memory_bank.loss_against_memory, other["rows"], index=index, negative_rows=rows
        )
        each[f"{m[0]}2{OTHER[m][0]}"] = among(query=z[m] / temperature, loss_fn=loss_fn)
        still = jax.lax.stop_gradient(z[m])
        scores.append(among(query=still, loss_fn=score_statistics()))
    return each, mean_scores(scores)


def _sample_rows(memory, index, rng, num_negatives):
    """Rows [B, num_negatives] of other records, the same for each memory."""
    return sampling.sample_excluding(rng, index[:, None], memory["size"], num_negatives)


def _init_state(model, bank, rng, batch, size):
    rng_model, *rngs = jax.random.split(rng, 3)
    params, stats, out = init_model(model, rng_model, batch)
    z = pairs.embeddings(out, OTHER)
    memory = {m: bank.init(r, size, z[m].shape[1]) for m, r in zip(OTHER, rngs)}
    return params, {"stats": stats, "memory": memory, "step": jnp.zeros((), jnp.int32)}


def _inputs_of(batch, modality):
    """The batch without the input of the other modality's net."""
    return {name: x for name, x in batch.items() if name != OTHER[modality]}


def _params_of(params, modality):
    """The parameters of one modality's tower: encoders_video, heads_video."""
    return {name: part for name, part in params.items() if name.endswith(f"_{modality}")}
