"""Instance discrimination against a bank: the losses of Wu's and CMC's authors, and a run."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from avjax.configs import instdisc_kinetics
from avjax.evals import knn
from avjax.losses import contrastive, memory_bank, sampling, score_metrics
from avjax.runtime import metrics_writer
from tests import tiny
from tests.evals.test_suite import features


def reference(z, num_negatives, size, epsilon=1e-7):
    """Their criterion as a `Contrast` and what it adds to each loss: both have epsilons.

    With p = exp(s) / z and m = draws / size it is -ln(p / (p + m + e)) for the positive and
    -ln(m / (p + m + e)) for a negative: `logistic`, whose bias knows of e, and a constant.
    """
    m = num_negatives / size
    return contrastive.logistic(-float(np.log(z * (m + epsilon)))), num_negatives * np.log1p(
        epsilon / m
    )


def test_loss_matches_code_of_wu(golden):
    g = golden("wu")
    num_negatives, temperature, z, momentum = g["lem/Z"].tolist()
    c, constant = reference(z, num_negatives, 50)
    index, rows = g["lem/idx"][:, 0], jnp.asarray(g["lem/idx"][:, 1:])
    memory, x = jnp.asarray(g["lem/mem0"]), jnp.asarray(g["lem/x"])

    def loss(x):
        return (
            memory_bank.loss_against_memory(memory, x / temperature, index, rows, c).mean()
            + constant
        )

    value, grad = jax.value_and_grad(loss)(x)
    np.testing.assert_allclose(value, g["lem/loss"][0], rtol=5e-7)
    np.testing.assert_allclose(grad, g["lem/dx"], rtol=1e-5, atol=1e-6)
    bank = memory_bank.make(int(num_negatives), momentum)
    moved = bank.update({"rows": memory}, x, index)["rows"]
    np.testing.assert_allclose(moved, g["lem/mem1"], atol=1e-6)


def test_loss_without_epsilons_is_within_1e_6(golden):
    g = golden("wu")
    num_negatives, temperature, z, _ = g["lem/Z"].tolist()
    c = contrastive.logistic(-float(np.log(z * num_negatives / 50)))
    index, rows = g["lem/idx"][:, 0], jnp.asarray(g["lem/idx"][:, 1:])
    query = jnp.asarray(g["lem/x"]) / temperature
    loss = memory_bank.loss_against_memory(jnp.asarray(g["lem/mem0"]), query, index, rows, c).mean()
    np.testing.assert_allclose(loss, g["lem/loss"][0], rtol=2e-6)


@pytest.mark.parametrize("kind", ["nce", "softmax"])
def test_two_view_loss_matches_code_of_cmc(golden, kind):
    g = golden("wu")
    num_negatives, temperature, z_l, z_ab, momentum = g[f"cmc/{kind}/params"].tolist()
    index, rows = jnp.asarray(g["cmc/y"]), jnp.asarray(g["cmc/idx"][:, 1:])
    memory = {m: jnp.asarray(g[f"cmc/mem_{m}"]) for m in ("l", "ab")}

    def loss(x):
        total = 0.0
        for query, key, z in (("l", "ab", z_l), ("ab", "l", z_ab)):
            c, constant = contrastive.info_nce(), 0.0
            if kind == "nce":
                c, constant = reference(z, num_negatives, 50)
            scores = x[query] / temperature
            total += (
                memory_bank.loss_against_memory(memory[key], scores, index, rows, c).mean()
                + constant
            )
        return total

    x = {m: jnp.asarray(g[f"cmc/{m}"]) for m in ("l", "ab")}
    value, grads = jax.value_and_grad(loss)(x)
    np.testing.assert_allclose(value, g[f"cmc/{kind}/loss_sum"][0], rtol=1e-6)
    for m in x:
        np.testing.assert_allclose(grads[m], g[f"cmc/{kind}/d{m}"], rtol=1e-5, atol=1e-6)
    moved = memory_bank.make(int(num_negatives), momentum).update(
        {"rows": memory["l"]}, x["l"], index
    )
    np.testing.assert_allclose(moved["rows"], g[f"cmc/{kind}/mem_l"], atol=1e-6)


def test_wu_samples_all_rows_including_its_own():
    rows = sampling.sample_uniform(jax.random.key(0), jnp.arange(4)[:, None], 20, 14_000)
    counts = np.stack([np.bincount(r, minlength=20) for r in np.asarray(rows)])
    assert counts.shape == (4, 20) and (abs(counts - 700) < 120).all()
    # A bank asks it: with one record of two, the own row is about half of the negatives.
    bank = memory_bank.make(1000, sampler=sampling.sample_uniform)
    memory = bank.init(jax.random.key(0), 2, 8) | {"rows": jnp.eye(1024, 8)}
    query, index = jnp.eye(2, 8), jnp.arange(2)
    own = bank.loss(
        memory, query, query, index, jax.random.key(1), score_metrics.score_statistics()
    )[:, 1]
    np.testing.assert_allclose(own, 0.5, atol=0.06)


def test_knn_votes_in_embedding_space():
    """Features say one class and embeddings the other."""
    c = instdisc_kinetics.get_config()
    assert c.evals.kinetics.scores.knn.representation == "embedding"
    eye = np.eye(2, dtype=np.float32)
    train = features(eye, label=[0, 1])
    test = train._replace(modalities={"video": {"features": eye[::-1], "embedding": eye}})
    for representation, right in (("embedding", 100), ("features", 0)):
        assert knn.make(k=1, representation=representation)(train, test) == {"video/top1": right}
    with pytest.raises(ValueError, match="representation='head': use features or embedding"):
        knn.make(k=1, representation="head")


def test_single_tower_trains_and_evaluates_without_audio(world, tmp_path):
    c = tiny.config(world, steps=4, save_every=4)
    for clips in (c["data"]["train"], c["evals"]["world"]["train"], c["evals"]["world"]["test"]):
        clips["clip_sampler"]["audio_seconds"] = 0.0
    towers = ml_collections.ConfigDict(c["method"]["model"])
    c["method"] = instdisc_kinetics.instance_discrimination(
        towers, (16, 8), num_negatives=16, temperature=0.1
    )
    c["evals"]["world"]["scores"].pop("linear")
    ts = tiny.run(c, tmp_path)
    rows = ts.state["memory"]["video"]["rows"]
    np.testing.assert_allclose(np.linalg.norm(rows[:60], axis=1), 1, rtol=1e-5)
    found = {name for _, name, _ in metrics_writer.read_rows(tmp_path)}
    assert {"loss/v2v", "score/negatives_above_positive", "eval/world/knn/video/top1"} < found
    # The suite asks for retrieval, too: with one modality there is nothing to find.
    assert not [name for name in found if "v2a" in name or "audio" in name or "both" in name]
