import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax import contrast, negatives, sharding

B, D = 16, 32


def unit(seed, shape=(B, D)):
    x = jax.random.normal(jax.random.key(seed), shape)
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("c", [contrast.info_nce(), contrast.logistic(-3.0)])
def test_in_batch_is_the_same_on_one_device_and_four(c):
    def value(query, key):
        return negatives.in_batch().reduce((), query, key, None, None, c).mean()

    f = jax.value_and_grad(value, (0, 1))
    query, key = 10 * unit(0), unit(1)
    want = f(query, key)
    mesh = sharding.mesh()
    assert mesh.size == 4
    split = sharding.put({"query": np.array(query), "key": np.array(key)}, mesh)
    got = jax.jit(f)(split["query"], split["key"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), want, got)


def test_in_batch_with_info_nce_is_cross_entropy_over_the_batch():
    query, key = np.array(10 * unit(0), float), np.array(unit(1), float)
    e = np.exp(query @ key.T)
    want = -np.log(np.diag(e) / e.sum(1))
    got = negatives.in_batch().reduce(
        (), jnp.asarray(query), jnp.asarray(key), None, None, contrast.info_nce()
    )
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_draws_are_even_and_never_hit_the_excluded_set():
    sets = jnp.sort(jax.random.permutation(jax.random.key(1), 20)[:6])[None]
    rows = np.asarray(negatives.draw_outside(jax.random.key(0), sets, 20, 14_000))[0]
    counts = np.bincount(rows, minlength=20)
    inside = np.asarray(sets[0])
    assert (counts[inside] == 0).all()
    assert (abs(counts[np.setdiff1d(np.arange(20), inside)] - 1000) < 150).all()


def test_a_row_that_comes_twice_takes_its_last_example():
    bank = negatives.bank(draws=4)
    memory = bank.init(jax.random.key(0), 10, D)
    index = jnp.array([3, 5, 3, 7] * 4)
    key = unit(2)
    moved = bank.update(memory, key, index)
    last = {3: 14, 5: 13, 7: 15}
    for row, i in last.items():
        want = 0.5 * memory[row] + 0.5 * key[i]
        np.testing.assert_allclose(moved[row], want / jnp.linalg.norm(want), rtol=1e-5)
    kept = np.array([0, 1, 2, 4, 6, 8, 9])
    np.testing.assert_array_equal(moved[kept], memory[kept])


def test_negative_rows_match_the_reference_program(golden):
    g = golden("avid")
    for step in ("step0", "step1"):
        y, rand = g[f"avid/{step}/y"], g[f"avid/{step}/rand"]
        rows = negatives.skip(jnp.asarray(y)[:, None], jnp.asarray(rand))
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
def test_bank_matches_the_reference_program(golden, variant, terms):
    g = golden("avid")
    memory = {m: jnp.asarray(g[f"avid/mem_{m}0"]) for m in ("video", "audio")}
    bank = negatives.bank(draws=16)
    for step in ("step0", "step1"):
        rows, y = jnp.asarray(g[f"avid/{step}/neg_idx"]), jnp.asarray(g[f"avid/{step}/y"])
        c = contrast.logistic(float(-np.log(16 * g[f"avid/{variant}/{step}/Z"][0])))
        raw = {m: jnp.asarray(g[f"avid/{step}/{m}"]) for m in memory}
        value, grads = jax.value_and_grad(avid)(raw, memory, rows, y, c, terms)
        memory = {m: bank.update(s, unit_rows(raw[m]), y) for m, s in memory.items()}
        name = f"avid/{variant}/{step}"
        np.testing.assert_allclose(value, g[f"{name}/loss"], rtol=2e-6)
        for m in memory:
            np.testing.assert_allclose(grads[m], g[f"{name}/d{m}"], rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(memory[m], g[f"{name}/mem_{m}"], atol=1e-6)


def unit_rows(x):
    return x / jnp.linalg.norm(x, axis=1, keepdims=True)


def avid(raw, memory, rows, y, c, terms):
    """AVID's loss of raw embeddings {modality: [B, D]} against rows of the memories."""
    z = {m: unit_rows(x) for m, x in raw.items()}
    pairs = [TERMS[t] for t in terms]
    each = [negatives.against(memory[k], z[q] / 0.07, y, rows, c).mean() for q, k in pairs]
    return sum(each) / len(each)
