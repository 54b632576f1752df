"""What goes together: modalities as query and key, clips of a record, clips of other records."""

import jax
import jax.numpy as jnp

from avjax.config import ranges

TERMS = {  # Name -> query, key.
    "v2a": ("video", "audio"),
    "a2v": ("audio", "video"),
    "v2v": ("video", "video"),
    "a2a": ("audio", "audio"),
}


def check_others(size: int, clips: int = 1) -> None:
    """Raises where a batch of `size` rows, `clips` of each record, has no two records."""
    if size < 2 * clips:
        raise ValueError(
            f"batch_size={size} with {clips} clips of a record is one record, and negatives are "
            f"clips of other records of the batch: use --config.batch_size={2 * clips} or more; "
            "where the method has negatives, those with a memory need no others "
            "(--config.method.negatives.fn=avjax.losses.negatives.bank "
            "--config.method.negatives.draws=1024)"
        )


def weighted(terms: dict[str, float], known=tuple(TERMS), method: str = "AVID") -> dict:
    """`terms` without those of weight 0.

    Raises ValueError for an unknown term, a weight below 0, or if no term is left.
    """
    if unknown := sorted(set(terms) - set(known)):
        raise ValueError(f"terms {unknown}: {method} knows {sorted(known)}")
    for name, weight in terms.items():
        ranges.number(f"terms.{name}", weight, least=0)
    if not any(terms.values()):
        raise ValueError("terms are all zero: give one of them a weight")
    return {name: weight for name, weight in terms.items() if weight}


def embeddings(out: dict, modalities) -> dict:
    """{modality: embedding [B, D]} of towers' outputs, for all of `modalities`.

    Raises ValueError where one is missing, or where they differ in width.
    """
    if missing := sorted({*modalities} - out.keys()):
        raise ValueError(
            f"no {missing[0]}: give the model an encoder of it, and the view of config.data.train "
            f"{'frames' if missing[0] == 'video' else 'seconds of sound'}"
        )
    z = {m: out[m]["embedding"] for m in out}
    if len(widths := {m: x.shape[-1] for m, x in z.items()}) > 1 and len({*widths.values()}) > 1:
        raise ValueError(f"embeddings of widths {widths}: let all heads end in the same width")
    return z


def following(z, index, clips: int):
    """For each row of z [B, D] the next of its record's `clips` rows, the first after the last.

    NaN, which ends a run, where a batch does not hold so many clips of a record in turn.
    """

    def turn(x):
        return jnp.roll(x.reshape(-1, clips, *x.shape[1:]), -1, axis=1).reshape(x.shape)

    return jnp.where((turn(index) == index)[:, None], turn(z), jnp.nan)


def drawn(rng, index):
    """For each row of the batch a row of another record, each as likely: [B]."""
    check_others(len(index))
    count = (index[:, None] != index[None]).sum(1)
    return another(jax.random.randint(rng, index.shape, 0, count), index)


def another(number, index):
    """For each row, the `number`th [B] of the rows that are of other records, counted from 0."""
    others = index[:, None] != index[None]
    return jnp.argmax(jnp.cumsum(others, 1) > number[:, None], axis=1)
