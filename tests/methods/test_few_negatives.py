"""SogCLR, LeJEPA and a filled memory bank, on tables in place of nets."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.losses import contrastive, memory_bank, negatives, pairs, sigreg
from avjax.losses.temperature import fixed_temperature
from avjax.methods import avid, lejepa, sogclr
from avjax.ops.normalize import l2_normalize

B, D, N = 8, 6, 40
BATCH = {"index": jnp.arange(B) + 3, "label": jnp.arange(B) % 3}
PAIR = dict(v2a=1.0, a2v=1.0)


class Table(nn.Module):
    """No net: the parameters [B, D] of each modality are its embeddings."""

    @nn.compact
    def __call__(self, batch, train: bool):
        z = {m: self.param(m, nn.initializers.normal(), (B, D)) for m in ("video", "audio")}
        return {m: {"features": x, "embedding": x} for m, x in z.items()}


def started(method):
    return jax.jit(lambda: method.init(jax.random.key(0), BATCH, N))()


def test_sogclr_keeps_a_sum_per_record_and_direction():
    method = sogclr.make(Table(), negatives.in_batch(), temperature=0.1, gamma=0.4)
    params, state = started(method)
    step = jax.jit(method.loss)
    total, (state, metrics) = step(params, state, BATCH, jax.random.key(1))
    scores = np.asarray(params["video"] @ params["audio"].T, np.float64) / 0.1
    e = np.exp(scores - np.diag(scores)[:, None])
    first = (e.sum(1) - 1) / (B - 1)
    np.testing.assert_allclose(np.exp(state["running"]["v2a"]["rows"][3 : 3 + B]), first, rtol=1e-5)
    assert np.isneginf(state["running"]["a2v"]["rows"][3 + B :]).all()
    np.testing.assert_allclose(metrics["loss/v2a"], np.log(first).mean(), atol=1e-6)
    np.testing.assert_allclose(total, (metrics["loss/v2a"] + metrics["loss/a2v"]) / 2, rtol=1e-6)
    # The same batch again: the mean of equal numbers stays.
    again = step(params, state, BATCH, jax.random.key(1))[1][0]
    np.testing.assert_allclose(
        again["running"]["v2a"]["rows"][3 : 3 + B], np.log(first), rtol=1e-5, atol=1e-6
    )
    with pytest.raises(ValueError, match="negatives of the batch"):
        sogclr.make(Table(), memory_bank.make(4), temperature=0.1, gamma=0.4)


def test_lejepa_is_alignment_plus_sigreg():
    method = lejepa.make(Table(), sigreg_weight=0.05, num_directions=4)
    params, state = started(method)
    rng = jax.random.key(1)
    total, (_, metrics) = jax.jit(method.loss)(params, state, BATCH, rng)
    mean = (params["video"] + params["audio"]) / 2
    distance = np.mean([np.square(params[m] - mean).mean() for m in ("video", "audio")])
    spread = [jax.jit(lambda z: sigreg.sigreg(z, rng, 4))(params[m]) for m in ("video", "audio")]
    np.testing.assert_allclose(metrics["loss/alignment"], distance, rtol=1e-6)
    np.testing.assert_allclose(total, 0.95 * distance + 0.05 * np.mean(spread), rtol=1e-6)


def test_filled_bank_starts_from_the_embeddings_of_all_records():
    method = avid.filled_bank(
        Table(), memory_bank.make(5), contrastive.info_nce(), PAIR, fixed_temperature(0.1)
    )
    params, state = started(method)
    assert method.extract and method.refresh
    assert method.extract(params, state, BATCH)["video"].shape == (B, D)
    rows = np.random.default_rng(0).normal(size=(2, N, D)).astype(np.float32)
    mask = np.arange(N) != 7  # A record that could not be read.
    found = dict(video=rows[0], audio=rows[1], mask=mask)
    moved = jax.jit(method.refresh)(params, state, jax.random.key(0), found)[1]["memory"]
    for m, x in zip(("video", "audio"), rows):
        before, after = (np.asarray(s[m]["rows"]) for s in (state["memory"], moved))
        np.testing.assert_allclose(after[:N][mask], l2_normalize(x)[mask], rtol=1e-6)
        np.testing.assert_array_equal(after[7], before[7])
        np.testing.assert_array_equal(after[N:], before[N:])
    with pytest.raises(ValueError, match="not a memory bank"):
        avid.filled_bank(
            Table(), negatives.in_batch(), contrastive.info_nce(), PAIR, fixed_temperature(0.1)
        )


def test_avid_leaves_out_negatives_of_the_same_class():
    def loss(group_by):
        method = avid.make(
            Table(), negatives.in_batch(), contrastive.info_nce(), PAIR, fixed_temperature(0.1),
            group_by=group_by,
        )  # fmt: skip
        params, state = started(method)
        return params, jax.jit(method.loss)(params, state, BATCH, jax.random.key(0))[0]

    params, got = loss(pairs.by_label)
    scores = np.asarray(params["video"] @ params["audio"].T, np.float64) / 0.1
    label = np.arange(B) % 3
    e = np.exp(scores) * ((label[:, None] != label[None]) | np.eye(B, dtype=bool))
    want = np.mean([-np.log(np.diag(e) / e.sum(axis)) for axis in (0, 1)])
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert got < loss(pairs.by_record)[1]
    with pytest.raises(ValueError, match="sampler avjax.losses.sampling.other_classes"):
        avid.make(
            Table(), memory_bank.make(3), contrastive.info_nce(), PAIR, fixed_temperature(0.1),
            group_by=pairs.by_label,
        )  # fmt: skip
