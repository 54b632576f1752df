import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from avjax.losses import pairs as pairing
from avjax.methods import l3
from avjax.nets.layers.mlp import Mlp
from avjax.runtime import metrics_writer
from tests import tiny


class Given(nn.Module):
    """Towers whose features are what the batch holds."""

    def __call__(self, batch, train: bool):
        return {m: {"features": batch[m], "embedding": batch[m]} for m in ("video", "audio")}


def test_l3_star_matches_code_of_avid(golden):
    g = golden("l3")
    found = pairing.nth_other_record(jnp.asarray(g["l3/raw"]), jnp.arange(6))
    np.testing.assert_array_equal(found, g["l3/neg_audio_idx"])

    rows = jnp.arange(6)
    pairs = jnp.tile(rows, 2), jnp.concatenate([rows, found])
    method = l3.make(Given(), Mlp((128, 1)), lambda rng, index: pairs)
    rng, index = jax.random.key(0), {"index": rows}
    features = {"video": jnp.asarray(g["l3/v"]), "audio": jnp.asarray(g["l3/a"])}

    def loss(features):
        return method.loss(weights(), {"stats": {}}, features | index, rng)[0]

    value, grads = jax.value_and_grad(loss)(features)
    np.testing.assert_allclose(value, g["l3/loss"], rtol=1e-6)
    for name, want in (("video", g["l3/dv"]), ("audio", g["l3/da"])):
        np.testing.assert_allclose(grads[name], want, rtol=1e-4, atol=1e-8)


def weights():
    """The reference's classifier: drawn in this order, [out, in] there and [in, out] here."""
    random = np.random.RandomState(271)
    layers = {}
    for name, out, size in (("linear1", 128, 1024), ("linear2", 1, 128)):
        bias = 0.1 * random.standard_normal(out)
        kernel = random.standard_normal((out, size)).T * size**-0.5
        layers[name] = {"kernel": jnp.float32(kernel), "bias": jnp.float32(bias)}
    return {"classifier": layers}


def test_logistic_loss_of_log_odds_is_binary_cross_entropy():
    logits = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    e = np.exp(logits.astype(float))
    found = l3.log_odds(jnp.asarray(logits))
    np.testing.assert_allclose(jax.nn.softplus(-found), -np.log(e[:, 1] / e.sum(1)), rtol=1e-5)
    np.testing.assert_allclose(jax.nn.softplus(found), -np.log(e[:, 0] / e.sum(1)), rtol=1e-5)
    np.testing.assert_array_equal(l3.log_odds(jnp.asarray(logits[:, :1])), logits[:, 0])


@pytest.mark.parametrize("count", [1, 2])
def test_mismatch_is_any_row_of_another_record(count):
    index = jnp.repeat(jnp.array([40, 3, 17, 8]), count)
    drawn = jax.vmap(pairing.random_other_record, (0, None))(
        jax.random.split(jax.random.key(0), 6000), index
    )
    for row in range(len(index)):
        share = np.bincount(np.asarray(drawn[:, row]), minlength=len(index)) / 6000
        others = np.asarray(index != index[row])
        assert not share[~others].any()
        np.testing.assert_allclose(share[others], 1 / others.sum(), rtol=0.1)


def test_half_of_the_pairs_match():
    index = jnp.repeat(jnp.arange(6), 2)
    for pairs in (l3.half_matched_pairs, l3.matched_and_mismatched_pairs):
        picture, sound = pairs(jax.random.key(1), index)
        matched = np.asarray(index[picture] == index[sound])
        assert matched.mean() == 0.5
        assert (picture[matched] == sound[matched]).all()  # Not the record's other clip.
        times = len(picture) // len(index)
        np.testing.assert_array_equal(np.bincount(picture), [times] * len(index))


class Small(nn.Module):
    """A layer for each modality, of vectors."""

    @nn.compact
    def __call__(self, batch, train: bool):
        z = {m: Mlp((32,), name=m)(batch[m], train) for m in ("video", "audio")}
        return {m: {"features": nn.relu(x), "embedding": x} for m, x in z.items()}


@pytest.mark.parametrize(
    "pairs,outputs", [(l3.half_matched_pairs, 2), (l3.matched_and_mismatched_pairs, 1)]
)
def test_l3_separates_pairs(pairs, outputs):
    method = l3.make(Small(), Mlp((64, outputs)), pairs)
    kinds = jnp.eye(8, 16)  # A picture and its sound are of one of eight kinds.
    tx = optax.adam(1e-2)

    def batch(rng):
        kind = jax.random.permutation(rng, 8)
        noise = 0.1 * jax.random.normal(rng, (8, 16))
        other = kinds[:, ::-1][kind] + noise
        return {"video": kinds[kind] + noise, "audio": other, "index": kind}

    def step(carry, rng):
        params, opt = carry
        here = batch(rng)
        grad = jax.value_and_grad(method.loss, has_aux=True)
        (_, (_, metrics)), grads = grad(params, {"stats": {}}, here, rng)
        updates, opt = tx.update(grads, opt, params)
        return (optax.apply_updates(params, updates), opt), metrics["accuracy"]

    rngs = jax.random.split(jax.random.key(0), 300)
    params, _ = method.init(rngs[0], batch(rngs[0]), 8)
    train_all = jax.jit(lambda carry: jax.lax.scan(step, carry, rngs))
    (params, _), accuracy = train_all((params, tx.init(params)))
    assert accuracy[:20].mean() < 0.75 and accuracy[-20:].mean() > 0.95

    here = batch(jax.random.key(1))
    assert (method.embed(params, {"stats": {}}, here)["match"] > 0).mean() > 0.8
    turned = here | {"audio": jnp.roll(here["audio"], 1, axis=0)}
    assert (method.embed(params, {"stats": {}}, turned)["match"] < 0).mean() > 0.8


def test_run_trains_towers_and_classifier(world, tmp_path):
    c = tiny.config(world, steps=4, save_every=4)
    model = c["method"]["model"]
    model["frontends"]["audio"] = dict(
        fn="avjax.nets.frontends.spectrogram.LogMagnitude", window=128, hop=64, n_fft=128
    )
    model["heads"] = {m: dict(fn="avjax.nets.layers.mlp.Mlp", widths=()) for m in model["heads"]}
    c["method"] = dict(
        fn="avjax.methods.l3",
        model=model,
        classifier=dict(fn="avjax.nets.layers.mlp.Mlp", widths=(128, 2)),
        pairs=dict(ref="avjax.methods.l3.half_matched_pairs"),
    )
    del c["evals"]["world"]["train"]  # Nothing that learns from labels: retrieval is enough.
    c["evals"]["world"]["scores"] = dict(retrieval=dict(fn="avjax.evals.retrieval"))
    ts = tiny.run(c, tmp_path)
    assert ts.params["classifier"]["linear2"]["kernel"].shape == (128, 2)
    found = {}
    for _, name, value in metrics_writer.read_rows(tmp_path):
        found.setdefault(name, []).append(value)
    assert len(found["loss"]) == len(found["accuracy"]) == 4
    assert all(0 <= x <= 1 for x in found["accuracy"])
    # The "match" that L3 embeds beside the modalities is none of them.
    sides = {name.split("/")[3] for name in found if name.startswith("eval/world/retrieval")}
    assert sides == {"v2a", "a2v"}
