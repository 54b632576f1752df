"""Query/key pairing across modalities, clips and records."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp

from avjax.config import ranges, signatures
from avjax.types import Array, Batch, Metrics

DIRECTIONS = {  # Name -> (query, key).
    "v2a": ("video", "audio"),
    "a2v": ("audio", "video"),
    "v2v": ("video", "video"),
    "a2a": ("audio", "audio"),
}


def check_other_records(size: int, num_clips: int = 1) -> None:
    """Raises ValueError if a batch of `size` rows, `num_clips` per record, has only one record."""
    if size < 2 * num_clips:
        raise ValueError(
            f"batch_size={size} with {num_clips} clips per record is one record, and negatives are "
            f"clips of other records of the batch: use --config.batch_size={2 * num_clips} or more "
            "or, if the method has negatives, a memory bank "
            "(--config.method.negatives.fn=avjax.losses.memory_bank "
            "--config.method.negatives.num_negatives=1024)"
        )


def nonzero_terms(
    terms: dict[str, float], known: Iterable[str] = tuple(DIRECTIONS), method: str = "AVID"
) -> dict[str, float]:
    """The terms of a loss without those of weight 0.

    Args:
      terms: {name: weight}.
      known: allowed names.
      method: name for messages.

    Returns:
      {name: weight}, all weights above 0.

    Raises:
      ValueError: unknown name, negative weight, or no term left.
    """
    if unknown := sorted(set(terms) - set(known)):
        name = unknown[0]
        near = signatures.did_you_mean(name, known)
        raise ValueError(
            f"terms.{name}={terms[name]!r}: {method} has no such term{near or '.'} "
            f"Its terms: {', '.join(sorted(known))}"
        )
    for name, weight in terms.items():
        ranges.check_number(f"terms.{name}", weight, minimum=0)
    if not any(terms.values()):
        raise ValueError(f"terms={dict(terms)!r}: use a weight above 0 for one of them")
    return {name: weight for name, weight in terms.items() if weight}


def combine_terms(losses: dict[str, Array], terms: dict[str, float]) -> tuple[Array, Metrics]:
    """The weighted mean of the terms of a loss.

    Args:
      losses: {name: loss [B]}.
      terms: {name: weight}; they are divided by their sum.

    Returns:
      (total, {"loss/<name>": mean over the batch}), all scalars.
    """
    metrics = {f"loss/{name}": loss.mean() for name, loss in losses.items()}
    total = sum(weight * metrics[f"loss/{name}"] for name, weight in terms.items())
    return jnp.asarray(total) / sum(terms.values()), metrics


def modalities_of(terms: Iterable[str]) -> set[str]:
    """The modalities of the queries and keys of terms, which are keys of DIRECTIONS."""
    return {modality for term in terms for modality in DIRECTIONS[term]}


def check_other_clip(terms: Iterable[str], num_clips: int, remedy: str = "") -> None:
    """Raises ValueError if the key of a term would be the query's own clip.

    Args:
      terms: keys of DIRECTIONS.
      num_clips: clips per record.
      remedy: another remedy than two clips per record or other terms, for the message.
    """
    within = sorted(term for term in terms if len({*DIRECTIONS[term]}) == 1)
    if within and num_clips < 2:
        raise ValueError(
            f"terms {within} would compare a clip with itself: use {remedy}two clips per record "
            "(num_clips=2 in the clip_sampler of config.data.train and config.method.num_clips=2), "
            "or the terms v2a and a2v"
        )


def embeddings(out: dict[str, dict], required: Iterable[str] = ()) -> dict[str, Array]:
    """The embeddings of each modality.

    Args:
      out: outputs of towers.
      required: modalities that a loss needs.

    Returns:
      {modality: float [B, D]} of all modalities of `out`.

    Raises:
      ValueError: a modality is missing, or widths differ.
    """
    if missing := sorted({*required} - out.keys()):
        raise ValueError(
            f"no {missing[0]}: the model needs an encoder for it, and the clip_sampler of "
            f"config.data.train {'frames' if missing[0] == 'video' else 'seconds of audio'}"
        )
    z = {m: out[m]["embedding"] for m in out}
    if len(widths := {m: x.shape[-1] for m, x in z.items()}) > 1 and len({*widths.values()}) > 1:
        raise ValueError(f"embeddings have widths {widths}: use heads with the same last width")
    return z


def by_record(batch: Batch) -> Array:
    """The record of each row, int [B]: only clips of one record are no negatives of each other."""
    return batch["index"]


def by_label(batch: Batch) -> Array:
    """A number int [B] per class: rows of one class are no negatives of each other.

    Rows without a label have the number of their record.
    """
    return jnp.where(batch["label"] >= 0, -1 - batch["label"], batch["index"])


def next_clip_of_record(z: Array, index: Array, num_clips: int) -> Array:
    """For each row the row of the next clip of the same record, cyclically.

    Args:
      z: float [B, D].
      index: int [B], record of each row; the clips of a record are consecutive.
      num_clips: clips per record.

    Returns:
      float [B, D]; NaN, which stops a run, where the rows of a record are not consecutive.
    """

    def turn(x):
        return jnp.roll(x.reshape(-1, num_clips, *x.shape[1:]), -1, axis=1).reshape(x.shape)

    return jnp.where((turn(index) == index)[:, None], turn(z), jnp.nan)


def random_other_record(rng: Array, index: Array) -> Array:
    """For each row of the batch a uniform row of another record.

    Args:
      rng: a key.
      index: int [B], record of each row.

    Returns:
      int [B], rows of the batch.

    Raises:
      ValueError: the batch has only one row.
    """
    check_other_records(len(index))
    count = (index[:, None] != index[None]).sum(1)
    return nth_other_record(jax.random.randint(rng, index.shape, 0, count), index)


def nth_other_record(number: Array, index: Array) -> Array:
    """For each row of the batch one of the rows of other records.

    Args:
      number: int [B], which of these rows, from 0.
      index: int [B], record of each row.

    Returns:
      int [B], rows of the batch.
    """
    others = index[:, None] != index[None]
    return jnp.argmax(jnp.cumsum(others, 1) > number[:, None], axis=1)
