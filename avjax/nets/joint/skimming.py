"""IMGAUD-SKIMMING: an LSTM that looks for the informative clips of a long video.

Gao, Oh, Grauman and Torresani, CVPR 2020, https://arxiv.org/abs/1912.04487,
https://github.com/facebookresearch/Listen-to-Look.
"""

from typing import Any, Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from avjax.config import ranges
from avjax.nets.layers.batch_norm import BatchNorm
from avjax.nets.layers.interpolation import between_clips
from avjax.nets.layers.masked_batch_norm import MaskedBatchNorm
from avjax.nets.layers.mlp import Linear, Mlp
from avjax.nets.layers.weight_norm_lstm import WeightNormLSTM
from avjax.types import Array, Batch

MODALITIES = ("image", "audio")
# What the first step gets, see `Skimming.start`, and how the next ones read, see `reading`.
STARTS = ("mean", "clip", "mean_without_clip")
READINGS = ("soft", "hard", "hard_of_first")
small = nn.initializers.normal(0.02)
EXCLUDED = -1e35  # Score of what may not be selected.


class Skimming(nn.Module):
    """Reads the descriptors of a video in `steps` steps, by attention of image and of audio.

    The batch has, of each modality, "<modality>_features" float [B, N, D], descriptors of N clips
    in order of time, and "valid_clips" bool [B, N], False for padding.  If `start` is not "mean",
    also "first_clip" int [B], a valid clip of each video.  Returns

        features            [B, D]     mean over the steps of what was read; with two modalities
                                       of their fusion
        steps               [B, T, D]  what is averaged
        hidden, cell        [B, T, W]  the LSTM's state after each step
        next/<modality>     [B, T, D]  read in each step, input of the following one
        index/<modality>    [B, T]     clip with the highest attention
        attention/<modality> [B, T, N] over the clips
        modality_weights    [B, T, M]  how much each attention counts

    Once all clips of a video are excluded, all of them may be read again.

    Attributes:
      modalities: "image", "audio" or both, in this order.
      steps: T, the clips of each modality that are selected.
      hidden: W, width of the LSTM.
      key_width: of keys and queries.
      start: "mean" of all clips; "clip" is the clip "first_clip", which is then excluded;
        "mean_without_clip" is the mean, and excludes the clip nevertheless, as published.
      exclude_seen: whether a clip that had the highest attention of a modality is excluded from
        later attention of that modality.
      reading: "soft" reads the mean weighted by attention.  In evaluation mode, "hard" reads of
        each modality the clip with its highest attention, "hard_of_first" of both that of the first
        modality.  Training is always soft, and so has a gradient.
      every: distance of the clips whose descriptors are used; others are interpolated.
      interpolate: of `avjax.nets.layers.interpolation`.
      padding_counts: whether padding counts in the batch statistics of keys, as published.
    """

    modalities: tuple[str, ...] = MODALITIES
    steps: int = 10
    hidden: int = 1024
    key_width: int = 512
    start: str = "mean"
    exclude_seen: bool = True
    reading: str = "soft"
    every: int = 1
    interpolate: Callable = between_clips
    padding_counts: bool = False

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> dict[str, Array]:
        self._check(batch)
        valid = batch["valid_clips"]
        banks = {name: batch[f"{name}_features"] for name in self.modalities}
        if self.every > 1:
            # Reference: with one modality, its keys are of all clips, so nothing is saved.
            banks = {k: self.interpolate(x, valid, self.every) for k, x in banks.items()}
        # Reference: padding counts, so that a video's keys depend on the length of others.
        keys = {
            name: Key(self.key_width, name=f"key_{name}")(
                x, jnp.ones_like(valid) if self.padding_counts else valid, train
            )
            for name, x in banks.items()
        }
        carry = self._first(batch, banks, valid)
        how = self.hidden, self.key_width, self.exclude_seen, "soft" if train else self.reading
        inputs = carry, banks, keys, valid
        if self.is_initializing():  # Flax does not initialize statistics within a scan.
            _, once = Step(self.modalities, *how, train, name="step")(*inputs)
            out = {k: jnp.repeat(x[:, None], self.steps, 1) for k, x in once.items()}
        else:
            steps = repeated(self.steps, self.is_mutable_collection("batch_stats"))
            _, out = steps(self.modalities, *how, train, name="step")(*inputs)
        return out | {"features": out["steps"].mean(1)}

    def _first(self, batch, banks, valid):
        """The LSTM's first state and input, and which clips are excluded."""
        count = jnp.maximum(valid.sum(1), 1)[:, None]
        x = {k: jnp.where(valid[..., None], b, 0).sum(1) / count for k, b in banks.items()}
        seen = jnp.zeros_like(valid)
        # Paper: with the mean as start, a random clip is excluded from the first step as well.
        if self.start != "mean":
            seen = jax.nn.one_hot(batch["first_clip"], valid.shape[1], dtype=bool)
        if self.start == "clip":
            x = {name: pick(bank, batch["first_clip"]) for name, bank in banks.items()}
        zero = jnp.zeros((valid.shape[0], self.hidden), next(iter(x.values())).dtype)
        return (zero, zero), x, {name: seen for name in self.modalities}

    def _check(self, batch):
        for name, value in (("steps", self.steps), ("hidden", self.hidden),
                            ("key_width", self.key_width), ("every", self.every)):  # fmt: skip
            ranges.check_integer(name, value)
        for name, value, known in (("start", self.start, STARTS),
                                   ("reading", self.reading, READINGS)):  # fmt: skip
            if value not in known:
                raise ValueError(f"{name}={value!r}: use one of {', '.join(known)}")
        if tuple(self.modalities) not in (MODALITIES, MODALITIES[:1], MODALITIES[1:]):
            raise ValueError(
                f"modalities={tuple(self.modalities)}: use ('image',), ('audio',) or both"
            )
        needed = [*(f"{name}_features" for name in self.modalities), "valid_clips"]
        needed += ["first_clip"] * (self.start != "mean")
        if missing := [name for name in needed if name not in batch]:
            raise ValueError(f"skimming reads {missing[0]!r}, and the batch has {sorted(batch)}")


class Key(nn.Module):
    """Descriptors [B, N, D] -> keys [B, N, width]."""

    width: int

    @nn.compact
    def __call__(self, x: Array, counts: Array, train: bool) -> Array:
        y = Linear(self.width, kernel_init=small, name="linear")(x.reshape(-1, x.shape[-1]), train)
        y = y.reshape(*x.shape[:2], self.width)
        return nn.relu(MaskedBatchNorm(name="norm")(y, counts, train))


class Query(nn.Module):
    """State of the LSTM [B, W] -> query [B, width]."""

    width: int

    @nn.compact
    def __call__(self, h: Array, train: bool) -> Array:
        y = Linear(h.shape[-1], kernel_init=small, name="linear1")(h, train)
        y = nn.relu(BatchNorm(name="norm")(y, train))
        return Linear(self.width, kernel_init=small, name="linear2")(y, train)


class Step(nn.Module):
    """One step: (state, input and excluded clips, descriptors, keys, valid) -> (the next, outputs).

    Attributes as of `Skimming`.
    """

    modalities: tuple[str, ...]
    hidden: int
    key_width: int
    exclude_seen: bool
    reading: str
    train: bool

    @nn.compact
    def __call__(self, carry, banks, keys, valid):
        state, x, before = carry
        z = fuse(x, self.modalities, self.train)
        h, c = WeightNormLSTM(self.hidden, name="cell")(state, z)
        attention, index, seen = {}, {}, {}
        for name in self.modalities:
            query = Query(self.key_width, name=f"query_{name}")(h, self.train)
            score = jnp.einsum("bd,bnd->bn", query, keys[name]) / self.key_width**0.5
            left = valid & ~before[name] if self.exclude_seen else valid
            # Reference: if nothing is left, attention is uniform over clips and padding.
            left = jnp.where(left.any(1, keepdims=True), left, valid)
            attention[name] = jax.nn.softmax(jnp.where(left, score, EXCLUDED))
            index[name] = attention[name].argmax(1)
            latest = jax.nn.one_hot(index[name], valid.shape[1], dtype=bool)
            seen[name] = before[name] | latest
        # Reference: its optimizer leaves out these weights, which stay random.
        m = jnp.ones((len(h), 1), h.dtype)
        if len(self.modalities) > 1:
            scores = Linear(len(self.modalities), kernel_init=small, name="modality")(h, self.train)
            m = jax.nn.softmax(scores)
        after = self._read(banks, attention, index, m)
        # Paper: of a single modality, what was read is averaged, not the inputs of the steps.
        out = {"steps": z if len(after) > 1 else next(iter(after.values()))}
        out |= {"hidden": h, "cell": c, "modality_weights": m}
        for kind, found in (("next", after), ("index", index), ("attention", attention)):
            out |= {f"{kind}/{name}": value for name, value in found.items()}
        return ((h, c), after, seen), out

    def _read(self, banks, attention, index, m):
        """What each modality has where the attention of both is."""
        if self.reading == "soft":
            w = sum(m[:, i, None] * attention[name] for i, name in enumerate(self.modalities))
            return {name: jnp.einsum("bn,bnd->bd", w, bank) for name, bank in banks.items()}
        # Reference: "hard_of_first", the clip of the image also for audio.
        own = self.reading == "hard"
        first = self.modalities[0]
        return {name: pick(bank, index[name if own else first]) for name, bank in banks.items()}


def repeated(steps: int, updates: bool) -> Any:
    """Returns `Step` applied `steps` times, with outputs [B, T, ...].

    Args:
      steps: T.
      updates: whether batch statistics may change.
    """
    broadcast: Any = nn.broadcast
    return nn.scan(
        Step,
        variable_broadcast="params" if updates else ("params", "batch_stats"),
        variable_carry="batch_stats" if updates else False,
        split_rngs={"params": False},
        in_axes=broadcast,
        out_axes=1,
        length=steps,
    )


def fuse(x: dict[str, Array], modalities: tuple[str, ...], train: bool) -> Array:
    """Fuses descriptors [B, D] of both modalities to one; one alone stays as it is.

    To be called in a module, where it has the name "fusion".
    """
    if len(modalities) == 1:
        return x[modalities[0]]
    both = jnp.concatenate([x[name] for name in modalities], axis=1)
    return fusion(both.shape[1] // 2)(both, train)


def fusion(width: int) -> Mlp:
    """Returns the net that fuses two descriptors, side by side, to one of `width`."""
    return Mlp((2 * width, width), kernel_init=small, name="fusion")


def pick(bank: Array, index: Array) -> Array:
    """Rows `index` [B] of bank [B, N, D]: [B, D]."""
    return jnp.take_along_axis(bank, index[:, None, None], axis=1)[:, 0]
