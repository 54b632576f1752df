"""SSCL: self-supervised curriculum learning, in which one modality teaches the other.

Zhang, Xu, Shen, Lu, Liu and Shen, AAAI 2021, https://doi.org/10.1609/aaai.v35i4.16447.  A net of
video that tells instances apart teaches one of sound, that one teaches the net of video, and then
both learn from each other.

This is our reading: only the paper's abstract was at hand and no code is public.  The losses, the
numbers and how the stages follow one another are ours.  A run is a chain, `configs/sscl_kinetics`:
a teacher (`avjax.methods.avid` with the term v2v); `taught` with sound as student, then with
video, which starts from that teacher's weights; `mutual`; and `taught` again, as often as one
likes.
"""

import functools
from typing import Callable

import jax
import jax.numpy as jnp

from avjax.config import ranges
from avjax.losses import negatives, pairs
from avjax.losses.contrastive import resolve, tally
from avjax.nets.forward import forward
from avjax.ops.blockwise import product
from avjax.types import Contrast, Inherited, Method

OTHER = {"video": "audio", "audio": "video"}
TAUGHT = (
    "A student of SSCL learns from a trained teacher and its memory: use a run of a student of the "
    "same modality on the same data, or name all parts to take as the chain of "
    "configs/sscl_kinetics.py does: config.init_from=dict(folder=RUN, paths={...})"
)


def taught(
    model,
    student: str,
    draws: int,
    momentum: float,
    contrast: Contrast,
    temperature: float,
    share: Callable | None = None,
    chunks: int = 1,
) -> Method:
    """Stage I: the student, "video" or "audio", finds its clip among memories of the teacher.

    The other modality's net is the teacher: neither it nor its memory changes.  `params` are the
    student's; `state` holds "teacher", that net's parameters, "stats" of both nets and the
    "memory" of both, of which the student's fills.  The rest as in `mutual`.
    """
    if student not in OTHER:
        raise ValueError(f"student={student!r}: use one of {sorted(OTHER)}")
    ranges.number("temperature", temperature, above=0)
    ranges.whole("chunks", chunks)
    teacher, bank = OTHER[student], negatives.bank(draws, momentum)

    def init(rng, batch, size):
        params, state = _begun(model, bank, rng, batch, size)
        return _of(params, student), state | {"teacher": _of(params, teacher)}

    def loss(params, state, batch, rng):
        old, of = state["stats"], functools.partial(_part, batch)
        out, stats = forward(model, params, old, of(student), train=True, chunks=chunks)
        if share:  # What is easy, the teacher says too.
            seen = forward(model, state["teacher"], old, of(teacher), train=False, chunks=chunks)
            out |= seen[0]
        z, index = {m: o["embedding"] for m, o in out.items()}, batch["index"]
        memory, term = state["memory"], f"{student[0]}2{teacher[0]}"
        each, scores = _found(memory, z, (student,), index, rng, draws, contrast, temperature)
        weight, chosen = _easiest(share, state["step"], memory, z, index)
        metrics = {f"loss/{term}": (weight * each[term]).sum()} | scores | chosen
        memory = memory | {student: bank.update(memory[student], z[student], index)}
        state = state | {"stats": stats, "memory": memory, "step": state["step"] + 1}
        return metrics[f"loss/{term}"], (state, metrics)

    def embed(params, state, batch):
        both = state["teacher"] | params
        return forward(model, both, state["stats"], batch, train=False)[0]

    inherits = {
        "state/teacher": Inherited(required=TAUGHT),
        f"state/memory/{teacher}": Inherited(records=True, required=TAUGHT),
        f"state/memory/{student}": Inherited(records=True),
    }
    return Method(init, loss, embed, inherits=inherits)


def mutual(
    model,
    draws: int,
    momentum: float,
    contrast: Contrast,
    temperature: float,
    structure: float,
    share: Callable | None = None,
    chunks: int = 1,
) -> Method:
    """Stage II: each net finds its clip among memories of the other, and both learn.

    draws, momentum: as in `avjax.losses.negatives.bank`.
    structure: weight of the `divergence` between how near a picture is to those of the `draws`
      others, and its sound to theirs.
    share: step -> the part of a batch that is learned from, the clips on which both nets agree
      best with their own memory, e.g. optax.linear_schedule(0.5, 1.0, 10_000); None for all.
    """
    bank = negatives.bank(draws, momentum)
    ranges.number("temperature", temperature, above=0)
    ranges.number("structure", structure, least=0)
    ranges.whole("chunks", chunks)

    def init(rng, batch, size):
        return _begun(model, bank, rng, batch, size)

    def loss(params, state, batch, rng):
        out, stats = forward(model, params, state["stats"], batch, train=True, chunks=chunks)
        z, index = {m: o["embedding"] for m, o in out.items()}, batch["index"]
        memory = state["memory"]
        each, scores = _found(memory, z, OTHER, index, rng, draws, contrast, temperature)
        if structure:
            rows = _drawn(memory["video"], index, rng, draws)
            each["structure"] = divergence(z, memory, rows, temperature)
        weight, chosen = _easiest(share, state["step"], memory, z, index)
        metrics = {f"loss/{name}": (weight * x).sum() for name, x in each.items()}
        total = metrics["loss/v2a"] + metrics["loss/a2v"]
        total += structure * metrics.get("loss/structure", 0.0)
        memory = {m: bank.update(memory[m], z[m], index) for m in memory}
        state = {"stats": stats, "memory": memory, "step": state["step"] + 1}
        return total, (state, metrics | scores | chosen)

    def embed(params, state, batch):
        return forward(model, params, state["stats"], batch, train=False)[0]

    memories = {f"state/memory/{m}": Inherited(records=True) for m in OTHER}
    return Method(init, loss, embed, inherits=memories)


def divergence(z, memory, rows, temperature):
    """KL(pictures || sounds) [B] of softmax(scores) against the memories in `rows` [B, K].

    Its gradient reaches both nets.
    """

    def place(m):
        scores = product(z[m], memory[m]["rows"][rows], "bd,bkd->bk") / temperature
        return jax.nn.log_softmax(scores)

    video, audio = place("video"), place("audio")
    return (jnp.exp(video) * (video - audio)).sum(1)


def agreement(z, memory, index):
    """[B]: how near each clip lies to its memory, in the modality in which it is farther."""
    near = [(z[m] * memory[m]["rows"][index]).sum(1) for m in z]
    return functools.reduce(jnp.minimum, near)


def easiest(share, ease):
    """Weights [B] of sum 1, even over the part `share` of a batch of highest `ease` [B], 0 else."""
    rank = jnp.argsort(jnp.argsort(-ease))
    kept = (rank < jnp.maximum(share * len(ease), 1)).astype(jnp.float32)
    return kept / kept.sum()


def _easiest(share, step, memory, z, index):
    """(the weight of each example [B], what to log)."""
    if share is None:
        return jnp.full(len(index), 1 / len(index)), {}
    part, ease = share(step), jax.lax.stop_gradient(agreement(z, memory, index))
    return easiest(part, ease), {"curriculum/share": part, "curriculum/agreement": ease.mean()}


def _found(memory, z, queries, index, rng, draws, contrast, temperature):
    """({"v2a": loss [B]}, means of scores), for each of `queries` against the other's memory."""
    each, scores = {}, 0.0
    contrast = resolve(
        contrast,
        draws=("config.method", draws),
        dim=("config.method.model", next(iter(z.values())).shape[1]),
        temperature=("config.method", temperature),
    )
    for m in queries:
        other = memory[OTHER[m]]
        rows = _drawn(other, index, rng, draws)
        among = functools.partial(negatives.against, other["rows"], index=index, rows=rows)
        each[f"{m[0]}2{OTHER[m][0]}"] = among(query=z[m] / temperature, contrast=contrast)
        still = jax.lax.stop_gradient(z[m])
        scores += among(query=still, contrast=tally()).mean(0) / len(queries)
    return each, dict(zip(("score/positive", "score/negative", "score/above"), scores))


def _drawn(memory, index, rng, draws):
    """[B, draws] rows of others; the same for each memory."""
    return negatives.draw_outside(rng, index[:, None], memory["size"], draws)


def _begun(model, bank, rng, batch, size):
    rng_model, *rngs = jax.random.split(rng, 3)
    out, stats = model.init_with_output(rng_model, batch, train=False)
    if missing := OTHER.keys() - out.keys():
        raise ValueError(f"SSCL wants video and sound: the net or the batch has no {missing}")
    params, z = stats.pop("params"), pairs.embeddings(out, OTHER)
    memory = {m: bank.init(r, size, z[m].shape[1]) for m, r in zip(OTHER, rngs)}
    return params, {"stats": stats, "memory": memory, "step": jnp.zeros((), jnp.int32)}


def _part(batch, modality):
    """The batch without what the other modality's net takes."""
    return {name: x for name, x in batch.items() if name != OTHER[modality]}


def _of(params, modality):
    """The parts of the towers that are of one modality: encoders_video, heads_video."""
    return {name: part for name, part in params.items() if name.endswith(f"_{modality}")}
