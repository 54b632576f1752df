"""Query/key pairing across modalities, clips and records."""

import jax
import jax.numpy as jnp

from avjax.config import ranges

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
            "(--config.method.negatives.fn=avjax.losses.negatives.memory_bank "
            "--config.method.negatives.num_negatives=1024)"
        )


def nonzero_terms(terms: dict[str, float], known=tuple(DIRECTIONS), method: str = "AVID") -> dict:
    """The terms of a loss without those of weight 0.

    Args:
      terms: {name: weight}.
      known: allowed names.
      method: name for messages.

    Raises:
      ValueError: unknown name, negative weight, or no term left.
    """
    if unknown := sorted(set(terms) - set(known)):
        raise ValueError(f"terms {unknown}: {method} has {sorted(known)}")
    for name, weight in terms.items():
        ranges.check_number(f"terms.{name}", weight, minimum=0)
    if not any(terms.values()):
        raise ValueError("terms are all zero: use a weight above 0 for one of them")
    return {name: weight for name, weight in terms.items() if weight}


def embeddings(out: dict, modalities) -> dict:
    """The embeddings of the modalities that a loss needs.

    Args:
      out: outputs of towers.
      modalities: names that must be there.

    Returns:
      {modality: float [B, D]} of all modalities of `out`.

    Raises:
      ValueError: a modality is missing, or widths differ.
    """
    if missing := sorted({*modalities} - out.keys()):
        raise ValueError(
            f"no {missing[0]}: the model needs an encoder for it, and the view of "
            f"config.data.train {'frames' if missing[0] == 'video' else 'seconds of audio'}"
        )
    z = {m: out[m]["embedding"] for m in out}
    if len(widths := {m: x.shape[-1] for m, x in z.items()}) > 1 and len({*widths.values()}) > 1:
        raise ValueError(f"embeddings have widths {widths}: use heads with the same last width")
    return z


def next_clip_of_record(z, index, num_clips: int):
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


def random_other_record(rng, index):
    """For each row of the batch a uniform row of another record: int [B]."""
    check_other_records(len(index))
    count = (index[:, None] != index[None]).sum(1)
    return nth_other_record(jax.random.randint(rng, index.shape, 0, count), index)


def nth_other_record(number, index):
    """For each row the `number`th [B], from 0, of the rows of other records."""
    others = index[:, None] != index[None]
    return jnp.argmax(jnp.cumsum(others, 1) > number[:, None], axis=1)
