import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.losses import (
    contrastive,
    memory_bank,
    negatives,
    pairs as pairing,
    queue,
    sampling,
    score_metrics,
)
from avjax.runtime import sharding
from avjax.training import dry_run

B, D = 16, 32


def unit(seed, shape=(B, D)):
    x = jax.random.normal(jax.random.key(seed), shape)
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("c", [contrastive.info_nce(), contrastive.logistic(-3.0)])
def test_in_batch_is_the_same_on_one_device_and_four(c):
    def value(query, key):
        return negatives.in_batch().loss((), query, key, jnp.arange(B), None, c).mean()

    f = jax.value_and_grad(value, (0, 1))
    query, key = 10 * unit(0), unit(1)
    want = f(query, key)
    mesh = sharding.mesh()
    assert mesh.size == 4
    split = sharding.shard_batch({"query": np.array(query), "key": np.array(key)}, mesh)
    got = jax.jit(f)(split["query"], split["key"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), want, got)


def test_in_batch_with_info_nce_is_cross_entropy_over_the_batch():
    query, key = np.array(10 * unit(0), float), np.array(unit(1), float)
    e = np.exp(query @ key.T)
    want = -np.log(np.diag(e) / e.sum(1))
    got = negatives.in_batch().loss(
        (), jnp.asarray(query), jnp.asarray(key), jnp.arange(B), None, contrastive.info_nce()
    )
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_sampling_is_uniform_and_excludes_the_given_rows():
    sets = jnp.sort(jax.random.permutation(jax.random.key(1), 20)[:6])[None]
    rows = np.asarray(sampling.sample_excluding(jax.random.key(0), sets, 20, 14_000))[0]
    counts = np.bincount(rows, minlength=20)
    inside = np.asarray(sets[0])
    assert (counts[inside] == 0).all()
    assert (abs(counts[np.setdiff1d(np.arange(20), inside)] - 1000) < 150).all()


def test_duplicate_row_keeps_last_example():
    bank = memory_bank.make(num_negatives=4)
    memory = bank.init(jax.random.key(0), 10, D)
    index = jnp.array([3, 5, 3, 7] * 4)
    key = unit(2)
    moved = bank.update(memory, key, index)["rows"]
    memory = memory["rows"]
    last = {3: 14, 5: 13, 7: 15}
    for row, i in last.items():
        want = 0.5 * memory[row] + 0.5 * key[i]
        np.testing.assert_allclose(moved[row], want / jnp.linalg.norm(want), rtol=1e-5)
    kept = np.setdiff1d(np.arange(len(memory)), list(last))
    np.testing.assert_array_equal(moved[kept], memory[kept])


def test_negative_rows_match_the_reference_program(golden):
    g = golden("avid")
    for step in ("step0", "step1"):
        y, rand = g[f"avid/{step}/y"], g[f"avid/{step}/rand"]
        rows = sampling.skip_excluded(jnp.asarray(y)[:, None], jnp.asarray(rand))
        np.testing.assert_array_equal(rows, g[f"avid/{step}/neg_idx"])


TERMS = {
    "v2a": ("video", "audio"),
    "a2v": ("audio", "video"),
    "v2v": ("video", "video"),
    "a2a": ("audio", "audio"),
}


@pytest.mark.parametrize(
    "variant,terms",
    [("cross", ("v2a", "a2v")), ("self", ("v2v", "a2a")), ("joint", ("v2a", "a2v", "v2v", "a2a"))],
)
def test_memory_bank_matches_the_reference_program(golden, variant, terms):
    g = golden("avid")
    memory = {m: {"rows": jnp.asarray(g[f"avid/mem_{m}0"])} for m in ("video", "audio")}
    bank = memory_bank.make(num_negatives=16)
    for step in ("step0", "step1"):
        rows, y = jnp.asarray(g[f"avid/{step}/neg_idx"]), jnp.asarray(g[f"avid/{step}/y"])
        c = contrastive.logistic(float(-np.log(16 * g[f"avid/{variant}/{step}/Z"][0])))
        raw = {m: jnp.asarray(g[f"avid/{step}/{m}"]) for m in memory}
        value, grads = jax.value_and_grad(avid)(raw, memory, rows, y, c, terms)
        memory = {m: bank.update(s, unit_rows(raw[m]), y) for m, s in memory.items()}
        name = f"avid/{variant}/{step}"
        np.testing.assert_allclose(value, g[f"{name}/loss"], rtol=1e-6)
        for m in memory:
            want = g[f"{name}/d{m}"]
            assert np.linalg.norm(grads[m] - want) < 1e-5 * np.linalg.norm(want)
            np.testing.assert_allclose(memory[m]["rows"], g[f"{name}/mem_{m}"], atol=1e-6)


def unit_rows(x):
    return x / jnp.linalg.norm(x, axis=1, keepdims=True)


def avid(raw, memory, rows, y, c, terms):
    """AVID's loss of raw embeddings {modality: [B, D]} against rows of the memories."""
    z = {m: unit_rows(x) for m, x in raw.items()}
    pairs = [TERMS[t] for t in terms]
    each = [
        memory_bank.loss_against_memory(memory[k]["rows"], z[q] / 0.07, y, rows, c).mean()
        for q, k in pairs
    ]
    return sum(each) / len(each)


def test_memory_bank_never_samples_padding_rows():
    bank = memory_bank.make(num_negatives=400)
    memory = bank.init(jax.random.key(0), 10, D)
    assert len(memory["rows"]) % 1024 == 0
    memory["rows"] = memory["rows"].at[10:].set(jnp.nan)
    index = jnp.arange(B) % 10
    loss = bank.loss(memory, unit(0), unit(1), index, jax.random.key(1), contrastive.info_nce())
    assert np.isfinite(loss).all()


def test_stratified_rows_are_distinct_and_uniform():
    draw = jax.jit(jax.vmap(lambda r: sampling.sample_stratified(r, 23, 7)))
    rows = np.asarray(draw(jax.random.split(jax.random.key(0), 20_000)))
    assert all(len(set(r)) == 7 for r in rows[:500].tolist())
    share = np.bincount(rows.ravel(), minlength=23) / len(rows)
    np.testing.assert_allclose(share, 7 / 23, rtol=0.05)


def test_shared_bank_gives_exact_number_of_other_rows():
    size, num_negatives = 12, 11  # All others: what is left out is known.
    shared = memory_bank.shared_negatives(num_negatives)
    memory = shared.init(jax.random.key(0), size, D)
    index, query = jnp.arange(B) % size, 10 * unit(0)
    c = contrastive.logistic(-1.0)
    got = shared.loss(memory, query, unit(1), index, jax.random.key(2), c)
    scores = np.asarray(query @ memory["rows"][:size].T) - 1.0
    own = np.asarray(index)[:, None] == np.arange(size)[None]
    want = np.log1p(np.exp(np.where(own, -scores, scores))).sum(1)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    few = memory_bank.shared_negatives(5).loss(
        memory, query, None, index, jax.random.key(2), count()
    )
    np.testing.assert_array_equal(few, 5)
    with pytest.raises(ValueError, match="num_negatives=12 of 12 records"):
        memory_bank.shared_negatives(12).init(jax.random.key(0), size, D)


def count():
    """A contrast that is the number of negatives."""
    return contrastive.info_nce()._replace(
        accumulate=lambda scores, mask, positive, axis=1: mask.sum(axis),
        merge=jnp.add,
        finalize=lambda positive, total: total,
    )


@pytest.mark.parametrize(
    "source,want",
    [
        (negatives.in_batch(), B - 1),
        (negatives.in_batch(5), 5),
        (memory_bank.make(7), 7),
        (queue.make(20), 20),
        (queue.make(20, num_negatives=6), 6),
    ],
)
def test_every_source_gives_its_declared_number_of_negatives(source, want):
    memory = source.init(jax.random.key(0), 40, D)
    index = jnp.arange(B)
    got = source.loss(memory, unit(0), unit(1), index, jax.random.key(1), count())
    np.testing.assert_array_equal(got, want)


def test_queue_drops_oldest_and_wraps():
    fifo = queue.make(2 * B + 5)
    memory = fifo.init(jax.random.key(0), 0, D)
    batches = [unit(i) for i in range(4)]
    for key in batches:
        memory = fifo.update(memory, key, None)
    stream = jnp.concatenate(batches)
    newest = {tuple(np.asarray(k).tolist()) for k in stream[-(2 * B + 5) :]}
    assert {tuple(k) for k in np.asarray(memory["keys"]).tolist()} == newest
    assert memory["head"] == 4 * B % (2 * B + 5)
    with pytest.raises(ValueError, match="queue_size=3 is less than the batch of 16"):
        queue.make(3).update(queue.make(3).init(jax.random.key(0), 0, D), unit(0), None)


def test_sampling_from_queue_is_uniform():
    fifo = queue.make(10, num_negatives=4)
    memory = fifo.init(jax.random.key(0), 0, D) | {"keys": jnp.eye(10, D)}
    mean = score_metrics.score_statistics()
    rngs = jax.random.split(jax.random.key(1), 4000)
    query = jnp.tile(jnp.arange(D, dtype=jnp.float32)[None], (1, 1))
    one = jax.jit(jax.vmap(lambda r: fifo.loss(memory, query, query, None, r, mean)[0, 1]))
    np.testing.assert_allclose(one(rngs).mean(), np.arange(10).mean(), rtol=0.05)


def test_queue_matches_moco(golden):
    g = golden("moco")
    q, k = ({n: g[f"moco/{side}/{n}"] for n in NAMES} for side in ("q", "k"))
    source = queue.make(32)
    memory = source.init(jax.random.key(0), 0, 16) | {"keys": jnp.asarray(g["moco/queue0"].T)}
    for step in ("moco/step0", "moco/step1"):
        k = {n: 0.9 * k[n] + 0.1 * q[n] for n in NAMES}
        np.testing.assert_allclose(k["fc.weight"], g[f"{step}/k_fc_w"], atol=1e-6)
        query, key = encode(q, g[f"{step}/q_in"]), encode(k, g[f"{step}/k_in"])
        loss = source.loss(memory, query / 0.2, key, None, None, contrastive.info_nce()).mean()
        np.testing.assert_allclose(loss, g[f"{step}/loss"], rtol=1e-6)
        memory = source.update(memory, key, None)
        np.testing.assert_allclose(memory["keys"].T, g[f"{step}/queue"], atol=1e-6)
        assert memory["head"] == g[f"{step}/ptr"][0]


NAMES = ("fc1.weight", "fc1.bias", "fc.weight", "fc.bias")


def encode(w, x):
    hidden = jax.nn.relu(x @ w["fc1.weight"].T + w["fc1.bias"][None])
    return unit_rows(hidden @ w["fc.weight"].T + w["fc.bias"][None])


def test_queue_passes_no_gradient_to_keys():
    source = queue.make(20)
    memory = source.init(jax.random.key(0), 0, D)

    def mean(key):
        return source.loss(memory, unit(0), key, None, None, contrastive.info_nce()).mean()

    assert not jax.grad(mean)(unit(1)).any()


@pytest.mark.parametrize(
    "source", [negatives.in_batch(), negatives.tiled(), negatives.ring(), negatives.in_batch(1)]
)
def test_batch_of_one_without_negatives_is_refused(source):
    one = jax.ShapeDtypeStruct((1, D), jnp.float32)

    def loss(query, key):
        return source.loss((), query, key, jnp.arange(1), jax.random.key(0), contrastive.info_nce())

    with pytest.raises(ValueError, match=r"batch_size=1 .*--config.batch_size=2 or more.*bank"):
        jax.eval_shape(loss, one, one)


def test_memory_negatives_allow_batch_of_one():
    index, query = jnp.arange(1), unit(0, (1, D))
    for source in (memory_bank.make(4), memory_bank.shared_negatives(4), queue.make(8)):
        memory = source.init(jax.random.key(0), 10, D)
        loss = source.loss(memory, query, query, index, jax.random.key(1), contrastive.info_nce())
        assert loss.shape == (1,) and loss[0] > 0


def test_pairs_within_batch_of_one_are_refused():
    with pytest.raises(ValueError, match="batch_size=1"):
        pairing.random_other_record(jax.random.key(0), jnp.arange(1))


@pytest.mark.parametrize("fn, refused", [(negatives.in_batch, True), (memory_bank.make, False)])
def test_batch_of_clips_of_one_record_is_refused_by_dry_run(fn, refused):
    args = dict(negatives=fn(**({} if refused else dict(num_negatives=4))))
    dry_run.check_negatives(args, 3, num_clips=1)
    if not refused:
        return dry_run.check_negatives(args, 3, num_clips=3)
    with pytest.raises(ValueError, match="batch_size=3 with 3 clips .*batch_size=6 or more"):
        dry_run.check_negatives(args, 3, num_clips=3)
